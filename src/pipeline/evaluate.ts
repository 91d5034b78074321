import { availableParallelism } from 'node:os'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { denseDecoderModel } from '../../export/onnx.ts'
import { IntegrityError, UsageError } from '../errors.ts'
import { openWeights } from '../formats/safetensors/weights.ts'
import { readConfig } from '../model/config.ts'
import { modelName } from '../model/name.ts'
import type { OpenedModel } from '../model/open.ts'
import { openModel } from '../model/open.ts'
import type { Provider } from '../runtime/session.ts'
import type { Artifact } from '../verify/artifact.ts'
import { isArtifact, openArtifact } from '../verify/artifact.ts'
import { evaluateArtifact, evaluateGraph } from '../verify/evaluate.ts'
import { TOOL_VERSION } from '../version.ts'
import { denseSource } from './dense-source.ts'
import type { EvaluationMemory } from './evaluation-memory.ts'
import { planEvaluation } from './evaluation-memory.ts'
import { sourceHash } from './fingerprint.ts'
import { runtimeName } from './open-decoder.ts'
import { evaluateGriffin } from './predict/griffin-evaluate.ts'
import { assertGriffin } from './predict/griffin-option.ts'
import { openHire } from './predict/hire-option.ts'
import { evaluateHire } from './predict/hire-quality.ts'
import { defaultProvider } from './provider.ts'
import { peakRss, stopwatch } from './stopwatch.ts'
import { evaluationText } from './text.ts'
import type { EvaluateOptions, EvaluateResult } from './types.ts'

/**
 * Perplexity ± standard error of an artifact, measured on its exported files, with KL and top-1 agreement against the
 * dense model it was made from; or of a dense model folder. Throws IntegrityError when the dense model given is not the
 * artifact's source.
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  if (options.griffin && options.hire)
    throw new UsageError('--griffin and --hire both choose the neurons: give one of them')
  if (options.maxMemoryBytes !== undefined && (options.griffin || options.hire))
    throw new UsageError('--max-memory is for a plain evaluation: leave it out with --griffin and --hire')
  assertGriffin(options.griffin, options)
  if (options.griffin) return evaluateGriffin(options, options.griffin)
  const watch = stopwatch()
  const folder = options.model
  const artifact = isArtifact(folder) ? openArtifact(folder) : undefined
  if (!artifact && options.dense !== undefined)
    throw new UsageError(`--dense compares an artifact with its source: ${folder} is a dense model itself`)
  const threads = options.threads ?? availableParallelism()
  const sequenceLength = options.sequenceLength ?? 256
  options.onProgress?.({ stage: 'load', done: 0, total: 1 })
  const windows = await evaluationText(folder, {
    ...(options.text ? { text: options.text } : {}),
    windows: options.windows ?? 256,
    sequenceLength,
  })
  const common = {
    windows,
    threads,
    onProgress: (done: number, total: number) => options.onProgress?.({ stage: 'evaluate', done, total }),
    ...(options.signal ? { signal: options.signal } : {}),
  }
  const size = { sequenceLength, windows: windows.nWindows }
  const limit = options.maxMemoryBytes
  const result = (
    { overall, domains }: Awaited<ReturnType<typeof evaluateGraph>>,
    runtime: string,
    note?: string,
  ): EvaluateResult => ({
    ...overall,
    model: folder,
    windows: windows.nWindows,
    sequenceLength,
    domains,
    runtime,
    ...(note === undefined ? {} : { note }),
    peakBytes: peakRss(),
    wallMs: watch.totalMs(),
  })
  if (!artifact) {
    if (options.hire) openHire(folder)
    const model = openModel(folder)
    try {
      const graph = denseDecoderModel(model, TOOL_VERSION)
      const memory = planEvaluation({ ...size, config: model.config, weights: model.weights, denseWorkers: 0 }, limit)
      const evaluation = { ...common, ...memory, graph, folder: model.dataFolder }
      return result(await evaluateGraph(evaluation), 'onnxruntime cpu, dense')
    } finally {
      model.close()
    }
  }
  const provider = options.provider ?? defaultProvider()
  const body = provider === 'spexpand' ? '' : ` (${artifact.manifest.mixture.stockBody})`
  const runtime = `${runtimeName('artifact', provider)}${body}`
  if (options.hire && options.dense === undefined)
    return result(await evaluateHire(folder, { ...common, provider }), `${runtime}, HiRE`, OWN_BASELINE)
  const dense = await openDense(options, artifact.manifest.source)
  const planned = (denseWorkers: number): EvaluationMemory =>
    artifactMemory(folder, artifact.manifest, provider, { ...size, denseWorkers, limit })
  if ('missing' in dense)
    return result(await evaluateArtifact({ ...common, ...planned(0), folder, provider }), runtime, dense.missing)
  const source = denseSource(dense.model, threads, options.signal)
  try {
    if (options.hire)
      return result(await evaluateHire(folder, { ...common, provider, dense: source }), `${runtime}, HiRE`)
    const run = { ...common, ...planned(threads), folder, provider, dense: source }
    return result(await evaluateArtifact(run), runtime)
  } finally {
    await source.release()
    dense.model.close()
  }
}

/** How an artifact is evaluated within the limit. Throws MemoryLimitError where it cannot be. */
function artifactMemory(
  folder: string,
  { mixture }: Artifact['manifest'],
  provider: Provider,
  size: { sequenceLength: number; windows: number; denseWorkers: number; limit: number | undefined },
): EvaluationMemory {
  const weights = openWeights(folder)
  try {
    const decoded = provider === 'spexpand' ? {} : { decoded: mixture }
    return planEvaluation({ ...size, ...decoded, config: readConfig(folder), weights }, size.limit)
  } finally {
    weights.close()
  }
}

/** What KL and agreement of --hire are measured against without --dense. */
const OWN_BASELINE = 'KL and agreement are against the artifact itself without HiRE'

/** The dense model to compare with: the one given, or the embedded demo model if the artifact was made from it. */
export async function openDense(
  options: Pick<EvaluateOptions, 'model' | 'dense'>,
  source: { readonly name: string; readonly sha256: string },
): Promise<{ model: OpenedModel } | { missing: string }> {
  const folder = options.dense ?? demoModelFolder()
  const model = openModel(folder)
  const { sha256 } = await sourceHash(model)
  if (sha256 === source.sha256) return { model }
  model.close()
  if (options.dense !== undefined)
    throw new IntegrityError(
      `Cannot compare ${options.model} with ${folder}: it was made from ${source.name} (${source.sha256}), this is ${modelName(folder)} (${sha256}): give its source with --dense`,
    )
  return { missing: `KL and agreement were not measured: give the source model (${source.name}) with --dense` }
}
