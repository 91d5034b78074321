import { availableParallelism } from 'node:os'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { UsageError } from '../../errors.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import type { Model, ValueInfo } from '../../formats/onnx/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import { openModel } from '../../model/open.ts'
import { createRng } from '../../linalg/rng.ts'
import { keptNeurons } from '../../predict/griffin.ts'
import { selectNeurons } from '../../predict/select.ts'
import { nativeStatus } from '../../runtime/native.ts'
import type { Session, Tensor } from '../../runtime/session.ts'
import { createSession } from '../../runtime/session.ts'
import { extract } from '../../verify/submodel.ts'
import type { Timing } from '../../verify/timing.ts'
import { timeInTurns } from '../../verify/timing.ts'
import { denseDecoder } from '../open-decoder.ts'
import { modelContenders } from './griffin-contenders.ts'
import { subsetGraph } from './griffin-graph.ts'
import { denseFfValues, nativeMissing, neuronGraph, setName } from './griffin-native.ts'
import type { GriffinReport, PredictGriffinOptions } from './types.ts'

/** Decoding one token at one density, against all neurons in turns. */
export type GriffinSpeedRow = {
  readonly density: number
  /** FF layers alone, all of them in one run, and the whole model behind a prompt. */
  readonly ff: SpeedSides
  readonly model: SpeedSides
}
/** Stock onnxruntime on all neurons and on gathered ones, and the native operator; absent where it is not built. */
export type SpeedSides = { readonly dense: Timing; readonly gathered: Timing; readonly native?: Timing }

export type GriffinSpeed = {
  readonly threads: number
  readonly rounds: number
  readonly promptTokens: number
  /** Why there are no native figures. */
  readonly nativeMissing?: string
  readonly rows: readonly GriffinSpeedRow[]
}

export type SpeedOptions = Pick<PredictGriffinOptions, 'model' | 'threads' | 'onProgress'> & {
  /** Timed rounds of one token. @default 21 */
  readonly rounds?: number
  /** @default 0.75, 0.5, 0.25, 0.1, 0.05 and the density asked for */
  readonly densities?: readonly number[]
}

const WARM_UP = 3

/**
 * Times decoding of a dense model with GRIFFIN against all neurons, in turns: the FF layers alone and the whole model. Sets are
 * the first of the report's order, which cost what any others cost.
 */
export async function measureGriffinSpeed(
  options: SpeedOptions,
  report: Pick<GriffinReport, 'order' | 'quality'>,
): Promise<GriffinSpeed> {
  const { threads = availableParallelism(), rounds = 21 } = options
  const model = openModel(options.model ?? demoModelFolder())
  const missing = missingNative(model)
  const isNative = missing === undefined
  try {
    const densities =
      options.densities ?? [...new Set(report.quality.map(({ density }) => density))].sort((a, b) => b - a)
    const rows: GriffinSpeedRow[] = []
    for (const density of densities) {
      options.onProgress?.({ stage: 'time', done: rows.length, total: densities.length })
      const sets = report.order.map((order) =>
        Int32Array.from(order.slice(0, keptNeurons(order.length, density))).sort(),
      )
      const parts = { model, sets, threads, rounds, isNative }
      rows.push({ density, ff: await ffSides(parts), model: await modelSides(parts) })
    }
    const promptTokens = PROMPT_IDS.length
    return { threads, rounds, promptTokens, ...(isNative ? {} : { nativeMissing: missing }), rows }
  } finally {
    model.close()
  }
}

/** One row for sets of k neurons a layer, spread at random as those of a prompt are: which they are takes no time. */
export async function measureSides(
  folder: string,
  densities: readonly number[],
  options: { readonly threads: number; readonly rounds: number },
): Promise<{ readonly ff: SpeedSides; readonly model: SpeedSides; readonly nativeMissing?: string }> {
  const model = openModel(folder)
  const missing = missingNative(model)
  const isNative = missing === undefined
  try {
    const { uniform } = createRng(0)
    const sets = densities.map((density) => {
      const scores = Float64Array.from({ length: model.config.ff }, uniform)
      return selectNeurons(scores, keptNeurons(scores.length, density))
    })
    const parts = { model, sets, isNative, ...options }
    return {
      ff: await ffSides(parts),
      model: await modelSides(parts),
      ...(isNative ? {} : { nativeMissing: missing }),
    }
  } finally {
    model.close()
  }
}

/** Why there is no native side for a model, where there is none. */
function missingNative(model: OpenedModel): string | undefined {
  const status = nativeStatus()
  const isBuilt = status.found && status.operatorsPath !== undefined
  return isBuilt ? nativeMissing(model) : 'the native operators are not built: npm run build:native'
}

type Parts = {
  readonly model: OpenedModel
  readonly sets: readonly Int32Array[]
  readonly threads: number
  readonly rounds: number
  readonly isNative: boolean
}

/** Any tokens do: time does not depend on them. */
const PROMPT_IDS = Array.from({ length: 64 }, (_, i) => 3 + i)

async function ffSides({ model, sets, threads, rounds, isNative }: Parts): Promise<SpeedSides> {
  const { graph } = denseDecoder(model.folder)
  const values = denseFfValues(graph, model)
  const d = model.config.hidden
  const shape = (name: string): ValueInfo => ({ name, type: 'float', shape: ['tokens', d] })
  const cut = (whole: Model): Model =>
    extract(
      whole,
      [...values.map(({ x }) => shape(x)), ...whole.graph.input.filter(({ name }) => name.startsWith('griffin.set.'))],
      values.map(({ y }) => shape(y)),
    )
  const graphs = [graph, subsetGraph(graph, model, sets), ...(isNative ? [neuronGraph(graph, model)] : [])]
  const sessions: Session[] = []
  try {
    for (const [i, whole] of graphs.entries()) {
      const provider = i === 2 ? 'spexpand' : 'cpu'
      const common = { threads, provider, folder: model.dataFolder, takesTurns: true } as const
      sessions.push(await createSession(encodeModel(cut(whole)), common))
    }
    const x = Float32Array.from({ length: d }, (_, i) => Math.sin(i))
    const feeds: Record<string, Tensor> = Object.fromEntries(
      values.map((one) => [one.x, { type: 'float32', dims: [1, d], data: x }]),
    )
    for (const [layer, set] of sets.entries())
      feeds[setName(layer)] = { type: 'int64', dims: [set.length], data: BigInt64Array.from(set, BigInt) }
    const contenders = sessions.map((session) => {
      const own = Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]!]))
      return () => session.run(own)
    })
    return sidesOf(await timeInTurns(contenders, { warmUp: WARM_UP, rounds, now: () => performance.now() }))
  } finally {
    for (const session of sessions) await session.release()
  }
}

async function modelSides({ model, sets, threads, rounds, isNative }: Parts): Promise<SpeedSides> {
  if (PROMPT_IDS.length + rounds + WARM_UP > model.config.maxPositions)
    throw new UsageError(`--rounds: got ${rounds}, the model has ${model.config.maxPositions} positions`)
  const { steps, release } = await modelContenders(model, sets, PROMPT_IDS, { threads, isNative })
  try {
    return sidesOf(await timeInTurns(steps, { warmUp: WARM_UP, rounds, now: () => performance.now() }))
  } finally {
    await release()
  }
}

function sidesOf([dense, gathered, native]: readonly Timing[]): SpeedSides {
  return { dense: dense!, gathered: gathered!, ...(native ? { native } : {}) }
}
