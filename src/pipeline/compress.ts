import { createHash } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeArtifact } from '../../export/artifact.ts'
import { assertFiniteWeights } from '../model/finite.ts'
import type { OpenedModel } from '../model/open.ts'
import { openModel } from '../model/open.ts'
import { createBlas } from '../runtime/blas.ts'
import { nativeProducts } from '../runtime/native-products.ts'
import { TOOL_VERSION } from '../version.ts'
import type { Run } from './block.ts'
import { compressBlock, embedAll, replayBlock } from './block.ts'
import { assertRoom } from './disk.ts'
import { sourceHash } from './fingerprint.ts'
import { compressionSizes } from './sizes.ts'
import type { MemoryPlan } from './memory.ts'
import { planMemory } from './memory.ts'
import type { Resolved } from './options.ts'
import { resolveOptions } from './options.ts'
import { WorkerPool } from './pool.ts'
import { productsOf } from './products.ts'
import { layerOptions, profileDigest, profileOf, withProfile } from './profile.ts'
import { RowStore } from './rowstore.ts'
import type { Fingerprint } from './state.ts'
import { RunState } from './state.ts'
import { peakRss, processorMs, stopwatch } from './stopwatch.ts'
import { calibrationText } from './text.ts'
import type { BlockStats, CompressOptions, CompressResult, Fallback } from './types.ts'
import type { Windows } from '../../calibration/windows.ts'

/**
 * Turns a dense model into a Sparse Expansion mixture: calibrates, clusters, prunes block by block and writes the
 * artifact. Every finished block is on disk at once; the same call in the same `out` continues after an interruption.
 * Throws SpexpandError; its kind says whether options, input, resources or numbers were at fault.
 */
export async function compress(options: CompressOptions): Promise<CompressResult> {
  const watch = stopwatch()
  const cpuBefore = processorMs()
  const plain = resolveOptions(options)
  const model = openModel(plain.model)
  let state: RunState | undefined
  try {
    const resolved = withProfile(plain, await profileOf(options.expertsProfile, model, plain))
    const memory = planMemory(model, resolved)
    const sizes = compressionSizes(model, resolved, memory)
    const windows = await calibrationText(model, resolved)
    watch.lap('load')
    const source = await sourceHash(model)
    await assertFiniteWeights(model.weights)
    state = RunState.begin(options.out, model, resolved.values, fingerprint(resolved, windows, source))
    assertRoom(options.out, sizes.diskBytes)
    const { blocks, resumedBlocks, retries } = await runBlocks(model, resolved, memory, windows, state, watch.lap)
    resolved.onProgress?.({ stage: 'export', done: 0, total: 1 })
    const stats = blocks.map((block) => block.stats)
    const fallbacks = blocks.flatMap((block) => block.fallbacks)
    const { damping } = await writeArtifact({
      model,
      out: options.out,
      blockFiles: blocks.map((_, layer) => state!.blockFile(layer)),
      stockBody: resolved.stockBody,
      values: resolved.values,
      ...(resolved.profile ? { profile: resolved.profile.layers } : {}),
      toolVersion: TOOL_VERSION,
      source,
      options: manifestOptions(resolved, windows),
      blocks: stats,
      fallbacks,
    })
    state.remove()
    watch.lap('export')
    resolved.onProgress?.({ stage: 'export', done: 1, total: 1 })
    return {
      out: options.out,
      blocks: stats,
      fallbacks,
      ...(damping ? { damping } : {}),
      retries,
      ...sizes.ff,
      sparsity: meanSparsity(stats),
      resumedBlocks,
      products: productsOf(resolved),
      memory,
      peakBytes: peakRss(),
      cpuMs: processorMs() - cpuBefore,
      wallMs: watch.totalMs(),
      stageMs: watch.stages(),
    }
  } finally {
    state?.close()
    model.close()
  }
}

type Blocks = {
  readonly blocks: { stats: BlockStats; fallbacks: readonly Fallback[] }[]
  readonly resumedBlocks: number
  readonly retries: readonly Fallback[]
}

/** All blocks in order; finished ones are replayed, so that the next one sees the same inputs as in one go. */
async function runBlocks(
  model: OpenedModel,
  options: Resolved,
  memory: MemoryPlan,
  windows: Windows,
  state: RunState,
  lap: (stage: string) => void,
): Promise<Blocks> {
  const retries: Fallback[] = []
  const pool = new WorkerPool(
    memory.workers,
    { modelFolder: model.folder, native: options.native },
    {
      signal: options.signal,
      onRetry: (retry) => retries.push(retry),
    },
  )
  const spool = join(state.folder, 'spool')
  const stores: RowStore[] = []
  try {
    const rows = windows.ids.length
    const { hidden, layers } = model.config
    const spoolPath = spooler(spool, memory)
    const store = (name: string): RowStore => {
      stores.push(RowStore.create(rows, hidden, spoolPath(name)))
      return stores.at(-1)!
    }
    const run: Run = {
      model,
      options,
      memory,
      runner: pool,
      blas: (options.native ? nativeProducts() : undefined) ?? (await createBlas(1)),
      hidden: store('hidden'),
      ffnIn: store('ffn-in'),
      nWindows: windows.nWindows,
      sequenceLength: windows.sequenceLength,
      spoolPath,
      lap,
    }
    await embedAll(run, windows.ids)
    const blocks: Blocks['blocks'] = []
    let resumedBlocks = 0
    let told = 0
    let pending = 0
    while (pending < layers && state.has(pending)) pending++
    for (let layer = 0; layer < layers; layer++) {
      options.onProgress?.({
        stage: 'solve',
        done: 0,
        total: layerOptions(options, layer).experts,
        block: layer,
        blocks: layers,
      })
      if (layer < pending) {
        const block = state.load(layer)
        // With every block finished only the export is missing: nobody needs the hidden states.
        if (pending < layers) await replayBlock(run, layer, block)
        blocks.push({ stats: block.stats, fallbacks: block.fallbacks })
        resumedBlocks++
      } else {
        const block = await compressBlock(run, layer)
        state.save(layer, block)
        lap('save')
        blocks.push({ stats: block.stats, fallbacks: block.fallbacks })
      }
      options.onProgress?.({
        stage: 'propagate',
        done: layer + 1,
        total: layers,
        block: layer,
        blocks: layers,
        note: blockNote(blocks[layer]!.stats),
        fallbacks: [...blocks[layer]!.fallbacks, ...retries.slice(told)],
      })
      told = retries.length
    }
    return { blocks, resumedBlocks, retries }
  } finally {
    await pool.close()
    for (const store of stores) store.close()
    rmSync(spool, { recursive: true, force: true })
  }
}

/** Where a store goes that is not to be in memory. */
function spooler(folder: string, { spooled }: MemoryPlan): (name: string) => string | undefined {
  if (!spooled) return () => undefined
  mkdirSync(folder, { recursive: true })
  return (name) => join(folder, name)
}

/** Two runs with equal fingerprints give the same bytes. Threads, memory and progress are not part of it. */
function fingerprint(options: Resolved, windows: Windows, source: { sha256: string }): Fingerprint {
  return {
    version: TOOL_VERSION,
    model: source.sha256,
    ...manifestOptions(options, windows),
  }
}

/** The options that shape the result, as the manifest records them. */
function manifestOptions(options: Resolved, windows: Windows): Record<string, string | number | boolean> {
  const { pattern } = options
  return {
    method: options.method,
    experts: options.experts,
    ...(options.profile ? { expertsProfile: profileDigest(options.profile) } : {}),
    ...(pattern.kind === 'unstructured' ? { sparsity: pattern.sparsity } : { pattern: `${pattern.n}:${pattern.m}` }),
    values: options.values.type,
    ...('groupSize' in options.values ? { groupSize: options.values.groupSize } : {}),
    router: options.router,
    ...(options.routerBias ? {} : { routerBias: false }),
    tokens: windows.ids.length,
    sequenceLength: options.sequenceLength,
    damping: options.damping,
    dampingMax: options.dampingMax,
    refine: options.refine,
    minTokensPerExpert: options.minTokensPerExpert,
    trueSequential: options.trueSequential,
    stockBody: options.stockBody,
    seed: options.seed,
    products: productsOf(options),
    calibrationSha256: createHash('sha256').update(new Uint8Array(windows.ids.buffer)).digest('hex'),
  }
}

function meanSparsity(blocks: readonly BlockStats[]): number {
  const matrices = blocks.flatMap((block) => block.matrices)
  return matrices.reduce((sum, matrix) => sum + matrix.sparsity, 0) / matrices.length
}

function blockNote({ tokensPerExpert, matrices }: BlockStats): string {
  const sorted = tokensPerExpert.toSorted((a, b) => a - b)
  const errors = matrices.map(
    (m) => `${m.matrix.replace('_proj', '')} ${m.error.toFixed(3)} (${m.baselineError.toFixed(3)})`,
  )
  return `tokens/expert ${sorted[0]}–${sorted.at(-1)}, error (one expert): ${errors.join(', ')}`
}
