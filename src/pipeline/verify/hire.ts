import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { UsageError } from '../../errors.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import { openSafetensors } from '../../formats/safetensors/reader.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { openWeights } from '../../formats/safetensors/weights.ts'
import { probeProviders } from '../../runtime/probe.ts'
import type { Artifact } from '../../verify/artifact.ts'
import { checkIntegrity, readGraph } from '../../verify/artifact.ts'
import { isProduct } from '../../verify/ff-layers.ts'
import { checkHireDefinition } from '../../verify/hire-definition.ts'
import { hireParts } from '../../verify/hire-parts.ts'
import { hireRules } from '../../verify/hire-rules.ts'
import { compareProviders } from '../../verify/parity.ts'
import { timeHire } from '../../verify/speed-hire.ts'
import { checkExternalData } from '../../verify/structure.ts'
import { denseSource } from '../dense-source.ts'
import { openDense } from '../evaluate.ts'
import { openHire } from '../predict/hire-option.ts'
import { evaluateHire } from '../predict/hire-quality.ts'
import { stopwatch } from '../stopwatch.ts'
import { evaluationText } from '../text.ts'
import type { ChosenProvider } from './provider.ts'
import { chosenProvider } from './provider.ts'
import type { Gate, HireVerification, QualityReport, Tell, VerifyOptions, VerifyResult } from './types.ts'

/** Sums in another order, at most: what was selected is taken from the run that is checked. */
const PARITY = 1e-3
/** Share of what is selected that may differ from what decoded predictors select: runtimes round x to int8 for them. */
const SELECTION = 0.1
/** Mean KL of another provider: a neuron at the edge of the k' may be in or out. */
const PROVIDER_KL = 2e-2

/** verify() of a dense model with HiRE, which has no experts to decode. */
export async function verifyDenseHire(options: VerifyOptions, artifact: Artifact, tell: Tell): Promise<VerifyResult> {
  const watch = stopwatch()
  const providers = options.integrity === true ? undefined : chosenProvider(options, await probeProviders())
  await checkIntegrity(artifact, (done, total) => tell('check', done, total, 'SHA-256 of the files'))
  const externalTensors = externalData(artifact.folder)
  const checked = providers && (await checkHire(options, artifact, providers, tell))
  const gates = checked?.gates ?? []
  return {
    model: options.model,
    integrity: {
      files: artifact.manifest.files.length,
      bytes: artifact.manifest.files.reduce((sum, { bytes }) => sum + bytes, 0),
      externalTensors,
      hashedTensors: artifact.manifest.files.reduce((sum, { tensors }) => sum + (tensors?.length ?? 0), 0),
      matrices: 0,
      experts: 0,
      weights: 0,
      nonZero: 0,
    },
    ...(checked ? { hire: checked.hire } : {}),
    gates,
    passed: gates.every(({ passed }) => passed),
    wallMs: watch.totalMs(),
  }
}

/** Whether an artifact is a dense model: its graph has no sparse products. */
export function hasNoProducts(folder: string): boolean {
  return !readGraph(folder).graph.node.some((node) => isProduct(node))
}

/** HiRE of an artifact against its definition, its quality beside the model without, and its speed in turns. */
export async function checkHire(
  options: VerifyOptions,
  artifact: Artifact,
  { provider, because, probes }: ChosenProvider,
  tell: Tell,
): Promise<{ hire: HireVerification; gates: Gate[] }> {
  const { folder } = artifact
  if (provider !== 'cpu' && provider !== 'spexpand')
    throw new UsageError(`--provider: got ${provider}, wanted cpu or spexpand: HiRE selects in main memory`)
  const { graph: hire, hire: section } = openHire(folder)
  const plain = readGraph(folder)
  const threads = options.threads ?? availableParallelism()
  const windows = await evaluationText(folder, {
    ...(options.text ? { text: options.text } : {}),
    windows: options.windows ?? 32,
    sequenceLength: options.sequenceLength ?? 256,
  })
  const parts = hireParts(plain, hire, join(folder, section.graph))
  const isNative = provider === 'spexpand' && probes.some((probe) => probe.provider === 'spexpand' && probe.works)
  const compared = isNative ? (['cpu', 'spexpand'] as const) : (['cpu'] as const)
  const rules = hireRules(folder, section)
  tell('compare', 0, 1, 'HiRE against its definition')
  const common = { plain, hire, parts, folder, threads }
  const parity = await checkHireDefinition({ ...common, ruleOf: rules, providers: compared, windows })
  const short = { ids: windows.ids.slice(0, 32), nWindows: 1, sequenceLength: 32 }
  const source = { graph: hire, source: encodeModel(hire), folder, threads }
  const logits = await compareProviders(source, isNative ? ['spexpand'] : [], short)
  const quality = await qualityOf(options, artifact, { windows, threads, provider }, tell)
  tell('time', 0, 1, 'with HiRE and without in turns')
  const isSparse = plain.graph.node.some((node) => isProduct(node))
  const rounds = options.rounds ?? 15
  const speed = await timeHire({ ...common, rounds, isNative, isSparse, now: () => performance.now() })
  const checked: HireVerification = {
    provider,
    ...(because === undefined ? {} : { providerChosen: because }),
    threads,
    rounds,
    parts: parts.length,
    parity,
    logits,
    quality,
    speed,
  }
  return { hire: checked, gates: gatesOf(options, checked, isSparse) }
}

async function qualityOf(
  options: VerifyOptions,
  { folder, manifest }: Artifact,
  common: { readonly threads: number; readonly provider: 'cpu' | 'spexpand' } & {
    readonly windows: Awaited<ReturnType<typeof evaluationText>>
  },
  tell: Tell,
): Promise<QualityReport> {
  const opened = options.dense === undefined ? undefined : await openDense(options, manifest.source)
  const dense = opened && 'model' in opened ? denseSource(opened.model, common.threads, options.signal) : undefined
  try {
    const { overall } = await evaluateHire(folder, {
      ...common,
      ...(dense ? { dense } : {}),
      onProgress: (done, total) => tell('evaluate', done, total),
      ...(options.signal ? { signal: options.signal } : {}),
    })
    const { nWindows: windows, sequenceLength } = common.windows
    const ratio = { perplexityRatio: overall.perplexity / overall.densePerplexity! }
    const note = dense ? {} : { note: 'compared with the same artifact without HiRE' }
    return { ...overall, windows, sequenceLength, ...ratio, ...note }
  } finally {
    await dense?.release()
    if (opened && 'model' in opened) opened.model.close()
  }
}

function gatesOf(
  options: VerifyOptions,
  { parity, logits, quality, speed }: HireVerification,
  isSparse: boolean,
): Gate[] {
  const gates: Gate[] = []
  const atMost = (gate: string, limit: number, measured: number): unknown =>
    gates.push({ gate, limit, measured, passed: measured <= limit })
  for (const { provider, relativeDifference, agreement } of parity) {
    atMost(`HiRE on ${provider} from its definition`, PARITY, relativeDifference)
    atMost(`share that ${provider} selects and decoded predictors do not`, SELECTION, 1 - agreement)
  }
  for (const { provider, kl } of logits) atMost(`KL of HiRE on ${provider} from cpu`, PROVIDER_KL, kl)
  // Those of an artifact of experts are for its experts.
  if (isSparse) return gates
  const { maxKl, maxPerplexityRatio, minSpeedup } = options
  if (maxKl !== undefined) atMost('KL from dense', maxKl, quality.kl ?? Number.NaN)
  if (maxPerplexityRatio !== undefined)
    atMost('perplexity by dense', maxPerplexityRatio, quality.perplexityRatio ?? Number.NaN)
  if (minSpeedup !== undefined) {
    const { without, stock, native } = speed.model
    const measured = without.medianMs / (native ?? stock)!.medianMs
    gates.push({ gate: 'speed-up of decoding', limit: minSpeedup, measured, passed: measured >= minSpeedup })
  }
  return gates
}

/** Initializers of both graphs that lie where the weight files say. */
function externalData(folder: string): number {
  const { graph: hire, hire: section } = openHire(folder)
  const weights = openWeights(folder)
  const own = openSafetensors(join(folder, section.graph.replace(/\.onnx$/, '.safetensors')))
  try {
    const both: TensorStore = { ...weights, tensors: new Map([...weights.tensors, ...own.tensors]) }
    return checkExternalData(readGraph(folder), weights) + checkExternalData(hire, both)
  } finally {
    own.close()
    weights.close()
  }
}
