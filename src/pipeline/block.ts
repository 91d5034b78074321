import type { Router, RouterFit } from '../cluster/router.ts'
import { fitRouter } from '../cluster/router.ts'
import { FormatError } from '../errors.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import type { OpenedModel } from '../model/open.ts'
import type { Blas } from '../tensor/blas.ts'
import { chunkReader } from './cluster-jobs.ts'
import { passesOf } from './cluster-passes.ts'
import type { MatrixName, PackedFront } from './jobs.ts'
import { matricesOf, packedFront } from './jobs.ts'
import type { MemoryPlan } from './memory.ts'
import type { Resolved } from './options.ts'
import type { JobRunner } from './pool.ts'
import { layerOptions } from './profile.ts'
import type { Pruned } from './prune-block.ts'
import { packedOf, pruneBack, pruneFront, pruneShared } from './prune-block.ts'
import { RowStore } from './rowstore.ts'
import type { Groups } from './segments.ts'
import { groupsOf, segmentsOf } from './segments.ts'
import type { FinishedBlock } from './state.ts'
import { matrixStats } from './stats.ts'
import type { Fallback } from './types.ts'

/** What all blocks of one run share. */
export type Run = {
  readonly model: OpenedModel
  readonly options: Resolved
  readonly runner: JobRunner
  /** Products on the main thread, single-threaded so that results do not depend on --threads. */
  readonly blas: Blas
  /** Hidden states of all calibration tokens (tokens, hidden), and the FF inputs of the current block. */
  readonly hidden: RowStore
  readonly ffnIn: RowStore
  readonly nWindows: number
  readonly sequenceLength: number
  readonly memory: MemoryPlan
  /** A file for a store that is to be on disk; undefined keeps it in memory. */
  readonly spoolPath: (name: string) => string | undefined
  /** Adds the time since the last call to a stage, for the summary of the run. */
  readonly lap: (stage: string) => void
}

/** Tokens of one attention job; whole windows, so that a job does not depend on the number of threads. */
const ATTENTION_TOKENS = 1024

/** Tokens of one embedding job. */
const EMBED_TOKENS = 16_384

/** hidden = embedding of all tokens. */
export async function embedAll(run: Pick<Run, 'runner' | 'hidden' | 'sequenceLength'>, ids: Int32Array): Promise<void> {
  const perJob = Math.max(1, Math.floor(EMBED_TOKENS / run.sequenceLength)) * run.sequenceLength
  const jobs: Promise<undefined>[] = []
  for (let first = 0; first < ids.length; first += perJob)
    jobs.push(
      run.runner.run({
        kind: 'embed',
        ids: ids.slice(first, first + perJob),
        sequenceLength: run.sequenceLength,
        firstRow: first,
        hidden: run.hidden.ref,
      }),
    )
  await Promise.all(jobs)
}

/** hidden += attention, ffnIn = norm(hidden), for all windows. */
export async function runAttention(
  run: Pick<Run, 'runner' | 'hidden' | 'ffnIn' | 'nWindows' | 'sequenceLength'>,
  layer: number,
): Promise<void> {
  const perJob = Math.max(1, Math.floor(ATTENTION_TOKENS / run.sequenceLength))
  const jobs: Promise<undefined>[] = []
  for (let first = 0; first < run.nWindows; first += perJob)
    jobs.push(
      run.runner.run({
        kind: 'attention',
        layer,
        firstRow: first * run.sequenceLength,
        windows: Math.min(perJob, run.nWindows - first),
        sequenceLength: run.sequenceLength,
        hidden: run.hidden.ref,
        ffnIn: run.ffnIn.ref,
      }),
    )
  await Promise.all(jobs)
}

/**
 * One block of Sparse Expansion (arXiv 2405.15756): dense attention, router on the FF inputs, one SparseGPT solve per
 * expert and matrix, then all tokens through the pruned, routed block.
 */
export async function compressBlock(run: Run, layer: number): Promise<FinishedBlock> {
  const { experts: k } = layerOptions(run.options, layer)
  const { router: form } = run.options
  await runAttention(run, layer)
  run.lap('attention')
  const fit = await fitStore(run, run.ffnIn, k, layer * 2)
  checkCoverage(run, layer, 'FF input', fit.counts)
  run.lap('cluster')
  const groups = groupsOf(fit.labels, k)
  if (form === 'split' && k > 1) return splitBlock(run, layer, fit, groups)
  const pruned = await pruneShared(run, layer, groups)
  run.lap('prune')
  return finished(run, layer, { fit, pruned })
}

/**
 * The paper's split form: gate and up first; the router of down is fitted and labelled on the intermediates of the
 * pruned gate and up, because those are what it will route at run time.
 */
async function splitBlock(run: Run, layer: number, fit: RouterFit, groups: Groups): Promise<FinishedBlock> {
  const front = await pruneFront(run, layer, groups)
  const intermediates = await storeIntermediates(run, layer, groups, (e) => packedFront(packedOf(front.experts[e]!)))
  try {
    run.lap('prune')
    const downFit = await fitStore(run, intermediates, groups.length, layer * 2 + 1)
    checkCoverage(run, layer, 'down input', downFit.counts)
    run.lap('cluster')
    const back = await pruneBack(run, layer, groupsOf(downFit.labels, groups.length), intermediates)
    run.lap('prune')
    const pruned: Pruned = {
      experts: front.experts.map((result, e) => ({ ...result, ...back.experts[e] })),
      baseline: { ...front.baseline, ...back.baseline },
      fallbacks: [...front.fallbacks, ...back.fallbacks],
    }
    return finished(run, layer, { fit, downFit, pruned })
  } finally {
    intermediates.close()
  }
}

/** Routes all tokens through a finished block, the way a resumed run catches up. */
export async function replayBlock(run: Run, layer: number, block: FinishedBlock): Promise<void> {
  await runAttention(run, layer)
  const { down_proj: downs } = block.experts
  const front = (e: number): PackedFront =>
    packedFront({
      ...(run.model.config.gated ? { gate_proj: block.experts.gate_proj[e]! } : {}),
      up_proj: block.experts.up_proj[e]!,
    })
  const hidden = run.hidden.ref
  const groups = groupsOf(await routeStore(run, run.ffnIn, block.router), downs.length)
  if (!block.downRouter)
    await perSegment(groups, (rows, e) => {
      const ffn = { ...front(e), down: downs[e]! }
      return run.runner.run({ kind: 'propagate', layer, rows, ffnIn: run.ffnIn.ref, hidden, ffn })
    })
  else {
    const stored = await storeIntermediates(run, layer, groups, front)
    const downGroups = groupsOf(await routeStore(run, stored, block.downRouter), downs.length)
    await perSegment(downGroups, (rows, e) =>
      run.runner.run({ kind: 'propagateDown', layer, rows, intermediates: stored.ref, hidden, down: downs[e]! }),
    )
    stored.close()
  }
  run.lap('replay')
}

/** Runs `body` for the pieces of every expert's tokens. */
function perSegment(groups: Groups, body: (rows: Uint32Array, e: number) => Promise<undefined>): Promise<unknown> {
  return Promise.all(groups.flatMap((group, e) => segmentsOf(group).map((rows) => body(rows, e))))
}

/** The intermediates (tokens, ff) of pruned gate and up, every token by its expert. */
async function storeIntermediates(
  run: Run,
  layer: number,
  groups: Groups,
  front: (e: number) => PackedFront,
): Promise<RowStore> {
  const { ff } = run.model.config
  const { rows } = run.hidden.ref
  const store = RowStore.create(rows, ff, run.spoolPath('intermediates'))
  await perSegment(groups, (rows, e) =>
    run.runner.run({ kind: 'intermediate', layer, rows, ffnIn: run.ffnIn.ref, out: store.ref, front: front(e) }),
  )
  return store
}

function finished(
  run: Run,
  layer: number,
  { fit, downFit, pruned }: { fit: RouterFit; downFit?: RouterFit; pruned: Pruned },
): FinishedBlock {
  const counts = [...fit.counts]
  const downCounts = downFit && [...downFit.counts]
  const reseeded = [
    [fit, 'router'],
    [downFit, 'down router'],
  ] as const
  return {
    stats: {
      layer,
      tokensPerExpert: counts,
      ...(downCounts ? { tokensPerDownExpert: downCounts } : {}),
      matrices: matricesOf(run.model.config).map((matrix) =>
        matrixStats(run.model.config, matrix, (matrix === 'down_proj' && downCounts) || counts, pruned),
      ),
    },
    fallbacks: [
      ...reseeded.flatMap(([of, what]): Fallback[] =>
        of && of.reseeded > 0
          ? [
              {
                where: `layer ${layer} ${what}`,
                what: `${of.reseeded} clusters re-seeded`,
                because: 'k-means emptied them',
              },
            ]
          : [],
      ),
      ...pruned.fallbacks,
    ],
    ...(counts.length > 1 ? { router: fit.router } : {}),
    ...(downFit ? { downRouter: downFit.router } : {}),
    experts: Object.fromEntries(
      matricesOf(run.model.config).map((matrix) => [matrix, pruned.experts.map((result) => result[matrix]!.packed!)]),
    ) as Record<MatrixName, PackedExpert[]>,
  }
}

function fitStore(run: Run, store: RowStore, experts: number, stream: number): Promise<RouterFit> {
  const { rows, cols } = store.ref
  return fitRouter({
    rows,
    dim: cols,
    chunk: chunkReader(store),
    experts,
    seed: run.options.seed + 1_000_003 * stream,
    bias: run.options.routerBias,
    blas: run.blas,
    passes: passesOf(store, run.runner),
  })
}

/** Labels of all rows of a store, by the folded router that runs at run time. */
function routeStore(run: Run, store: RowStore, router: Router | undefined): Promise<ArrayLike<number>> {
  return router ? passesOf(store, run.runner).route(router) : Promise.resolve(new Uint8Array(store.ref.rows))
}

function checkCoverage(run: Run, layer: number, what: string, counts: ArrayLike<number>): void {
  const wanted = run.options.minTokensPerExpert
  for (let e = 0; e < counts.length; e++)
    if (counts[e]! < wanted)
      throw new FormatError(
        `Too few tokens for an expert: layer ${layer} ${what} expert ${e} has ${counts[e]} of ${run.hidden.ref.rows} tokens, wanted ${wanted} (--min-tokens-per-expert): raise --tokens or lower --experts`,
      )
}
