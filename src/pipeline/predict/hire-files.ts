import { existsSync, readdirSync, statSync } from 'node:fs'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { amendArtifact } from '../../../export/amend.ts'
import { headProduct } from '../../../export/hire-graph.ts'
import { hireFiles, writeDenseArtifact } from '../../../export/hire.ts'
import { denseDecoderModel } from '../../../export/onnx.ts'
import { UsageError } from '../../errors.ts'
import type { Model } from '../../formats/onnx/types.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { openWeights } from '../../formats/safetensors/weights.ts'
import { readConfig } from '../../model/config.ts'
import type { OpenedModel } from '../../model/open.ts'
import { openModel } from '../../model/open.ts'
import { predictorBytes } from '../../predict/predictor.ts'
import { createBlas } from '../../runtime/blas.ts'
import type { Blas } from '../../tensor/blas.ts'
import { DTYPE_BYTES } from '../../tensor/dtype.ts'
import { matOf } from '../../tensor/mat.ts'
import { isArtifact, openArtifact, readGraph } from '../../verify/artifact.ts'
import { TOOL_VERSION } from '../../version.ts'
import { sourceHash } from '../fingerprint.ts'
import { calibrationText } from '../text.ts'
import { chooseFf } from './hire-ff.ts'
import type { FfChoice } from './hire-ff.ts'
import type { SoftmaxChoice } from './hire-softmax.ts'
import { chooseSoftmax, headInputs } from './hire-softmax.ts'
import { hirePage } from '../../report/hire-page.ts'
import { HIRE_PAGE, hirePageData } from './hire-report.ts'
import type { HireSpeed } from './hire-speed.ts'
import { hireSpeed } from './hire-speed.ts'
import { densityTable } from './hire-tables.ts'
import { hireQuality } from './hire-quality.ts'
import type { HireSettings, HireWindows } from './hire-settings.ts'
import { settingsOf } from './hire-settings.ts'
import { headTensors, hireTensors, permutedTensors } from './hire-tensors.ts'
import type { HireOptions, HireResult, HireSection } from './hire-types.ts'
import { HIRE_DEFINITION, HIRE_VERSION } from './hire-types.ts'

/**
 * HiRE for a model: predictors of its FF layers and of its softmax, rank and k' chosen by layer for the recall or the KL
 * wanted. With `out` a dense model is written as an artifact of its own, neurons sorted where they are grouped; an
 * artifact is added to in place. Quality is measured on what was written.
 * Throws UsageError for an FF predictor of an artifact, whose tokens take different experts.
 */
export async function predictHireFiles(options: HireOptions): Promise<HireResult> {
  const folder = options.model ?? demoModelFolder()
  return existsSync(folder) && isArtifact(folder) ? ofArtifact(folder, options) : ofDense(folder, options)
}

async function ofDense(folder: string, options: HireOptions): Promise<HireResult> {
  const { out, parts = 'both' } = options
  assertFree(out)
  const model = openModel(folder)
  try {
    const settings = settingsOf(options, model.config.hidden)
    const blas = await createBlas(settings.threads)
    const windows = await windowsOf(model, options, settings)
    const ff = parts === 'softmax' ? undefined : await chooseFf(model, blas, windows, settings)
    const decoder = denseDecoderModel(model, TOOL_VERSION)
    const head =
      parts === 'ff' ? undefined : await softmaxOf(decoder, model.dataFolder, model.weights, blas, windows, settings)
    const hire = sectionOf(ff, head, windows, settings)
    const result = { ...resultOf(folder, hire, ff, head), bytes: bytesOf(model, hire) }
    if (out === undefined) return result
    await writeDenseArtifact({
      model,
      out,
      tensors: permutedTensors(model, ff?.layers.map(({ order }) => order) ?? []),
      hireTensors: hireTensors(model, ff?.layers ?? [], hire.layers, head?.stored),
      section: hire,
      toolVersion: TOOL_VERSION,
      source: await sourceHash(model),
      options: { kind: settings.kind, seed: settings.seed },
    })
    const quality = await hireQuality(out, options)
    const tables = options.tables && hire.layers.length > 0 ? await densityTable(folder, hire, options) : undefined
    const measured = { ...result, out, quality, ...(tables ? { tables } : {}) }
    const isTimed = options.speed ?? options.tables ?? false
    return await addPage(out, measured, isTimed ? await hireSpeed(out, hire, settings.threads) : undefined)
  } finally {
    model.close()
  }
}

async function ofArtifact(folder: string, options: HireOptions): Promise<HireResult> {
  if ((options.parts ?? 'softmax') !== 'softmax')
    throw new UsageError(
      `--hire: the FF layers of ${folder} are those of an artifact: their rows lie under bitmasks, expert by expert, where no ` +
        'subset of rows can be gathered: use --parts softmax',
    )
  if (options.out !== undefined)
    throw new UsageError(`--out: ${folder} is an artifact and is added to in place: leave --out away, or copy it first`)
  openArtifact(folder)
  const decoder = readGraph(folder)
  const product = headProduct(decoder.graph)
  const config = readConfig(folder)
  const weights = openWeights(folder)
  try {
    const settings = settingsOf(options, config.hidden)
    const blas = await createBlas(settings.threads)
    const windows = await windowsOf({ folder, config }, options, settings)
    const head = await softmaxOf(decoder, folder, weights, blas, windows, settings)
    const hire = sectionOf(undefined, head, windows, settings)
    const files = hireFiles(decoder, headTensors(head.stored), hire, { names: noFf })
    await amendArtifact(folder, { sections: { hire }, files })
    const bytes = { ff: [0, 0], head: headBytes(weights, product, hire) } as const
    const quality = await hireQuality(folder, options)
    const result = { ...resultOf(folder, hire, undefined, head), bytes, out: folder, quality }
    return await addPage(folder, result, options.speed ? await hireSpeed(folder, hire, settings.threads) : undefined)
  } finally {
    weights.close()
  }
}

/** The page becomes a file of the artifact as the others are. */
async function addPage(folder: string, result: HireResult, speed?: HireSpeed): Promise<HireResult> {
  await amendArtifact(folder, { sections: {}, files: { [HIRE_PAGE]: hirePage(hirePageData(result, speed)) } })
  return { ...result, ...(speed ? { speed } : {}) }
}

function noFf(): never {
  throw new RangeError('An artifact has no predictors of FF layers')
}

function assertFree(out: string | undefined): void {
  if (out !== undefined && existsSync(out) && (!statSync(out).isDirectory() || readdirSync(out).length > 0))
    throw new UsageError(`Cannot write into ${out}: it is not an empty folder: give a new one with --out`)
}

async function windowsOf(
  model: Pick<OpenedModel, 'folder' | 'config'>,
  { calibration }: HireOptions,
  { tokens, choosingTokens, sequenceLength, seed }: HireSettings,
): Promise<HireWindows> {
  const text = calibration ? { text: calibration } : {}
  const [first, second] = [tokens, choosingTokens].map((count) => Math.max(1, Math.floor(count / sequenceLength)))
  const all = await calibrationText(model, {
    ...text,
    tokens: (first! + second!) * sequenceLength,
    sequenceLength,
    seed,
  })
  const cut = first! * sequenceLength
  return {
    calibration: { ids: all.ids.slice(0, cut), nWindows: first!, sequenceLength },
    choosing: { ids: all.ids.slice(cut), nWindows: second!, sequenceLength },
  }
}

async function softmaxOf(
  decoder: Model,
  folder: string,
  weights: TensorStore,
  blas: Blas,
  windows: HireWindows,
  settings: HireSettings,
): Promise<SoftmaxChoice> {
  const { name, outputs, inputs } = headProduct(decoder.graph)
  settings.onProgress?.({ stage: 'calibrate', done: 0, total: 1, note: 'softmax' })
  const rows = {
    calibration:
      settings.kind === 'lr' ? await headInputs(decoder, folder, windows.calibration, settings) : new Float32Array(0),
    choosing: await headInputs(decoder, folder, windows.choosing, settings),
  }
  return chooseSoftmax(blas, matOf(outputs, inputs, weights.readF32(name)), rows, {
    forms: settings.forms,
    k: Math.min(settings.softmaxK, outputs),
    recall: settings.recall,
    bytesPerWeight: DTYPE_BYTES[weights.get(name).dtype],
  })
}

function sectionOf(
  ff: FfChoice | undefined,
  head: SoftmaxChoice | undefined,
  { calibration, choosing }: HireWindows,
  { keep, recall, sequenceLength }: HireSettings,
): HireSection {
  return {
    version: HIRE_VERSION,
    graph: 'hire.onnx',
    weights: 'hire.safetensors',
    definition: HIRE_DEFINITION,
    keep,
    rest: 'predicted',
    recallWanted: recall,
    layers: ff?.chosen ?? [],
    ...(head ? { softmax: head.softmax } : {}),
    text: {
      calibrationTokens: calibration.nWindows * calibration.sequenceLength,
      choosingTokens: choosing.nWindows * choosing.sequenceLength,
      sequenceLength,
    },
  }
}

function resultOf(
  folder: string,
  hire: HireSection,
  ff: FfChoice | undefined,
  head: SoftmaxChoice | undefined,
): Omit<HireResult, 'bytes'> {
  return {
    model: folder,
    hire,
    candidates: [...(ff?.candidates ?? []), ...(head?.candidates ?? [])],
    ...(ff?.kl === undefined ? {} : { chosenKl: ff.kl }),
    ...(head ? { shards: head.shards } : {}),
  }
}

/** Bytes of weights that a token reads, as stored: dense, and predictors with the exact rows. */
function bytesOf(model: OpenedModel, hire: HireSection): HireResult['bytes'] {
  const { ff, hidden } = model.config
  const matrices = model.has('gate') ? 3 : 2
  const neuron = matrices * hidden * DTYPE_BYTES[model.tensor('up', 0).dtype]
  const layers = hire.layers.map(
    ({ predictor, kPrime }) => (matrices - 1) * predictorBytes(predictor, ff, hidden) + kPrime * neuron,
  )
  const product = { name: model.tensorName('head'), outputs: model.config.vocab, inputs: hidden }
  return {
    ff: [model.config.layers * ff * neuron, layers.reduce((sum, bytes) => sum + bytes, 0)],
    head: headBytes(model.weights, product, hire),
  }
}

function headBytes(
  weights: TensorStore,
  { name, outputs, inputs }: { readonly name: string; readonly outputs: number; readonly inputs: number },
  { softmax }: HireSection,
): [number, number] {
  const row = inputs * DTYPE_BYTES[weights.get(name).dtype]
  const dense = outputs * row
  return [dense, softmax ? predictorBytes(softmax.predictor, outputs, inputs) + softmax.kPrime * row : dense]
}
