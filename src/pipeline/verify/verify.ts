import { availableParallelism } from 'node:os'
import { InterruptedError, UsageError } from '../../errors.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { openWeights } from '../../formats/safetensors/weights.ts'
import { probeProviders } from '../../runtime/probe.ts'
import type { Provider } from '../../runtime/session.ts'
import type { Artifact } from '../../verify/artifact.ts'
import { checkIntegrity, isArtifact, openArtifact } from '../../verify/artifact.ts'
import { checkDecoding } from '../../verify/decode-parity.ts'
import { evaluateGraph } from '../../verify/evaluate.ts'
import type { FfLayer } from '../../verify/ff-layers.ts'
import { ffLayers } from '../../verify/ff-layers.ts'
import type { Parity } from '../../verify/parity.ts'
import { compareProviders } from '../../verify/parity.ts'
import { checkExperts, checkExternalData } from '../../verify/structure.ts'
import { denseSource } from '../dense-source.ts'
import { openDense } from '../evaluate.ts'
import type { DecoderSource } from '../open-decoder.ts'
import { openDecoder, runtimeName } from '../open-decoder.ts'
import { stopwatch } from '../stopwatch.ts'
import { evaluationText } from '../text.ts'
import { assertGriffin } from '../predict/griffin-option.ts'
import { checkGriffin, verifyDenseGriffin } from './griffin.ts'
import { checkHire, hasNoProducts, verifyDenseHire } from './hire.ts'
import type { ChosenProvider } from './provider.ts'
import { chosenProvider } from './provider.ts'
import { speedReport } from './speed.ts'
import type {
  Gate,
  IntegrityReport,
  QualityReport,
  RunReport,
  Tell,
  Verification,
  VerifyOptions,
  VerifyResult,
} from './types.ts'

/** Tokens and windows that parity is measured on: logits of all of them are kept. */
const PARITY_WINDOWS = 2
const PARITY_TOKENS = 128
/**
 * Mean KL from the portable form above which a provider computes something else: sums in another order move logits by
 * some 1e-6; kernels that round x to int8 by about 1e-2.
 */
const PARITY_KL = 1e-4
const PARITY_KL_QUANTISED = 2e-2

/**
 * Verifies an artifact from its files alone: checksums and structure, every expert decoded, logits of every provider
 * against the portable form, quality and speed against dense, and the gates that were set. A missed gate is a field of the
 * result. Throws IntegrityError for damaged files, GateError when a provider decodes wrongly, UnsupportedError when the
 * provider asked for is not there, UsageError for a gate that needs a dense model where there is none.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  assertGriffin(options.griffin, options)
  if (options.griffin && !isArtifact(options.model)) return verifyDenseGriffin(options, options.griffin)
  const watch = stopwatch()
  const artifact = openArtifact(options.model)
  const tell = teller(options)
  if (hasHire(artifact) && hasNoProducts(options.model)) {
    if (options.griffin)
      throw new UsageError(
        `--griffin: ${options.model} is a dense model with HiRE, which both choose neurons: give its source`,
      )
    return verifyDenseHire(options, artifact, tell)
  }
  const providers = options.integrity === true ? undefined : chosenProvider(options, await probeProviders())
  await checkIntegrity(artifact, (done, total) => tell('check', done, total, 'SHA-256 of the files'))
  const source = openDecoder(options.model)
  const layers = ffLayers(source.graph, options.model)
  const store = openWeights(options.model)
  try {
    const integrity = integrityReport(artifact, source, layers, store, tell)
    const { run, gates } =
      providers === undefined
        ? { run: undefined, gates: [] }
        : await runReport({ options, artifact, source, layers, store }, providers, tell)
    const hire = providers && options.hire ? await checkHire(options, artifact, providers, tell) : undefined
    const griffin = run && options.griffin ? await checkGriffin(options, options.griffin, false) : undefined
    return {
      model: options.model,
      integrity,
      ...(run ? { run } : {}),
      ...(griffin ? { griffin } : {}),
      ...(hire ? { hire: hire.hire } : {}),
      gates: [...gates, ...(hire?.gates ?? [])],
      passed: [...gates, ...(hire?.gates ?? [])].every(({ passed }) => passed),
      wallMs: watch.totalMs(),
    }
  } finally {
    store.close()
  }
}

/** Whether an artifact lists a graph with HiRE. */
function hasHire({ manifest }: Artifact): boolean {
  return manifest.files.some(({ name }) => name === 'hire.onnx')
}

function teller({ onProgress, signal }: VerifyOptions): Tell {
  let lastNote = ''
  return (stage, done, total, note = '') => {
    if (signal?.aborted) throw new InterruptedError('Interrupted while verifying: run the same command again')
    onProgress?.({ stage, done, total, ...(note === lastNote ? {} : { note }) })
    lastNote = note
  }
}

function integrityReport(
  { manifest }: Artifact,
  { graph }: DecoderSource,
  layers: readonly FfLayer[],
  store: TensorStore,
  tell: Tell,
): IntegrityReport {
  const externalTensors = checkExternalData(graph, store)
  const onProgress = (done: number, total: number): void => tell('check', done, total, 'every expert decoded')
  return {
    files: manifest.files.length,
    bytes: manifest.files.reduce((sum, { bytes }) => sum + bytes, 0),
    externalTensors,
    hashedTensors: manifest.files.reduce((sum, { tensors }) => sum + (tensors?.length ?? 0), 0),
    ...checkExperts(store, layers, onProgress),
  }
}

async function runReport(
  opened: Pick<Verification, 'options' | 'artifact' | 'source' | 'layers' | 'store'>,
  { provider, because, probes }: ChosenProvider,
  tell: Tell,
): Promise<{ run: RunReport; gates: Gate[] }> {
  const { options, artifact, source } = opened
  const dense = await openDense(options, artifact.manifest.source)
  try {
    if ('missing' in dense && (options.maxKl !== undefined || options.maxPerplexityRatio !== undefined))
      throw new UsageError(`--max-kl and --max-perplexity-ratio need the dense model: ${dense.missing}`)
    const threads = options.threads ?? availableParallelism()
    const windows = await evaluationText(options.model, {
      ...(options.text ? { text: options.text } : {}),
      windows: options.windows ?? 32,
      sequenceLength: options.sequenceLength ?? 256,
    })
    const verification: Verification = { ...opened, dense, windows, provider, threads }
    const compared = probes.filter(({ works }) => works).map((probe) => probe.provider)
    const decoding = await checkDecoding(source.graph, opened.layers, opened.store, compared, {
      folder: source.folder,
      threads,
      onProgress: (done, total) => tell('compare', done, total, `experts as ${compared.join(', ')} decode them`),
    })
    const parity = await parityReport(verification, compared, tell)
    const quality = await qualityReport(verification, tell)
    const speed = await speedReport(verification, tell)
    const run: RunReport = {
      provider,
      ...(because === undefined ? {} : { providerChosen: because }),
      runtime: runtimeName('artifact', provider),
      threads,
      decoding,
      parity,
      missing: probes.flatMap((probe) => (probe.works ? [] : [{ provider: probe.provider, because: probe.because }])),
      quality,
      speed,
    }
    return { run, gates: gatesOf(options, run, opened.layers) }
  } finally {
    if ('model' in dense) dense.model.close()
  }
}

async function parityReport(
  { source, windows, threads }: Verification,
  compared: readonly Provider[],
  tell: Tell,
): Promise<Parity[]> {
  const { sequenceLength: T, nWindows } = windows
  const length = Math.min(T, PARITY_TOKENS)
  const count = Math.min(nWindows, PARITY_WINDOWS)
  const ids = new Int32Array(count * length)
  for (let w = 0; w < count; w++) ids.set(windows.ids.subarray(w * T, w * T + length), w * length)
  return compareProviders(
    { ...source, threads },
    compared.filter((provider) => provider !== 'cpu'),
    { ids, nWindows: count, sequenceLength: length },
    (done, total) => tell('compare', done, total, 'logits against the portable form'),
  )
}

async function qualityReport(
  { options, source, windows, dense, provider, threads }: Verification,
  tell: Tell,
): Promise<QualityReport> {
  const hidden = 'model' in dense ? denseSource(dense.model, threads, options.signal) : undefined
  try {
    const { overall } = await evaluateGraph({
      graph: source.graph,
      folder: source.folder,
      windows,
      provider,
      threads,
      onProgress: (done, total) => tell('evaluate', done, total),
      ...(hidden ? { dense: hidden } : {}),
      ...(options.signal ? { signal: options.signal } : {}),
    })
    const { densePerplexity } = overall
    return {
      ...overall,
      windows: windows.nWindows,
      sequenceLength: windows.sequenceLength,
      ...(densePerplexity === undefined ? {} : { perplexityRatio: overall.perplexity / densePerplexity }),
      ...('missing' in dense ? { note: dense.missing } : {}),
    }
  } finally {
    await hidden?.release()
  }
}

/** Gates in the order they are told: parity always, the others where a limit was set. */
function gatesOf(options: VerifyOptions, { parity, quality, speed }: RunReport, layers: readonly FfLayer[]): Gate[] {
  const isExact = layers.every(({ up }) => up.node.opType === 'SparseExpertMatMul')
  const gates = parity.map(({ provider, kl }) =>
    atMost(`KL of ${provider} from the portable form`, isExact ? PARITY_KL : PARITY_KL_QUANTISED, kl),
  )
  if (options.maxKl !== undefined) gates.push(atMost('KL from dense', options.maxKl, quality.kl ?? Number.NaN))
  if (options.maxPerplexityRatio !== undefined)
    gates.push(atMost('perplexity by dense', options.maxPerplexityRatio, quality.perplexityRatio ?? Number.NaN))
  if (options.minSpeedup !== undefined) {
    const measured = speed.model?.decode.speedup ?? Number.NaN
    gates.push({
      gate: 'speed-up of decoding',
      limit: options.minSpeedup,
      measured,
      passed: measured >= options.minSpeedup,
    })
  }
  return gates
}

/** A measurement that is NaN passes nothing. */
function atMost(gate: string, limit: number, measured: number): Gate {
  return { gate, limit, measured, passed: measured <= limit }
}
