import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import type { Provider, Session, Tensor } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'
import type { FfLayer } from './ff-layers.ts'
import { ffLayers, productsOf } from './ff-layers.ts'
import type { WindowIds } from './hidden.ts'
import { feedsOf } from './hidden.ts'
import type { DenseWeights } from './submodel.ts'
import { denseTwin, extract, ffInputName, ffModel } from './submodel.ts'
import type { Timing } from './timing.ts'
import { timeInTurns } from './timing.ts'

/** The same work done by the sparse and by the dense form, and how many times faster the sparse one is. */
export type Comparison = {
  /** Tokens of one run. */
  readonly tokens: number
  readonly sparse: Timing
  readonly dense: Timing
  readonly speedup: number
}

export type FfSpeed = {
  /** FF layers of one run, of how many; each has its own weights, so that none stays in a cache it would not stay in. */
  readonly layers: number
  readonly ofLayers: number
  readonly oneToken: Comparison
  readonly prompt: Comparison
}

export type FfSpeedOptions = {
  readonly graph: Model
  readonly folder: string
  readonly layers: readonly FfLayer[]
  readonly weights: DenseWeights
  readonly windows: WindowIds
  readonly provider: Provider
  readonly threads: number
  readonly rounds: number
  readonly warmUp: number
  readonly now: () => number
  readonly onRound?: () => void
}

/** Dense f32 weights that a graph may carry: protobuf ends at 2 GiB. */
const DENSE_BYTES = 2 ** 30

/** The provider of the dense form: ours has nothing of its own for dense products. */
export function denseProvider(provider: Provider): Provider {
  return provider === 'spexpand' ? 'cpu' : provider
}

/**
 * Times the FF layers alone, all in one run, on the inputs that they get for the first window of a text: its first tokens
 * one by one, and the whole window at once. Sparse and dense take turns.
 */
export async function measureFf(options: FfSpeedOptions): Promise<FfSpeed> {
  const { graph, folder, threads, provider, weights } = options
  const layers = fittingLayers(options.layers)
  const inputs = await ffInputs(options, layers)
  const part = ffModel(graph, layers)
  const twin = denseTwin(part, ffLayers(part, folder), weights)
  const common = { folder, threads, takesTurns: true }
  const sparse = await createSession(encodeModel(part), { ...common, provider })
  let dense: Session | undefined
  try {
    dense = await createSession(encodeModel(twin), { ...common, provider: denseProvider(provider) })
    const pair = { sparse, dense }
    const tokens = options.windows.sequenceLength
    // First the prompt: it uses every expert of the window, so that no single token pays for the first use of one, when
    // its content is checked and its pages come from disk.
    const prompt = await compare(options, pair, tokens, () => feedsAt(inputs, 0, tokens))
    return {
      layers: layers.length,
      ofLayers: options.layers.length,
      oneToken: await compare(options, pair, 1, (round) => feedsAt(inputs, round % tokens, 1)),
      prompt,
    }
  } finally {
    await sparse.release()
    await dense?.release()
  }
}

/** Inputs of FF layers by name, (tokens, hidden) each. */
type FfInputs = Readonly<Record<string, { readonly rows: Float32Array; readonly hidden: number }>>

/** Evenly spread layers whose dense weights fit into one graph, at least one. */
function fittingLayers(layers: readonly FfLayer[]): FfLayer[] {
  const bytes = productsOf(layers[0]!).reduce((sum, { outputs, inputs }) => sum + 4 * outputs * inputs, 0)
  const count = Math.min(layers.length, Math.max(1, Math.floor(DENSE_BYTES / bytes)))
  return Array.from({ length: count }, (_, i) => layers[Math.floor((i * layers.length) / count)]!)
}

/** What the layers get for the first window. */
async function ffInputs(
  { graph, folder, provider, threads, windows }: FfSpeedOptions,
  layers: readonly FfLayer[],
): Promise<FfInputs> {
  const wanted = layers.map(({ input, down }) => ({
    name: input,
    type: 'float' as const,
    shape: ['tokens', down.outputs],
  }))
  const session = await createSession(encodeModel(extract(graph, graph.graph.input, wanted)), {
    folder,
    threads,
    provider,
  })
  try {
    const needed = graph.graph.input.filter(({ name }) => session.inputNames.includes(name))
    const results = await session.run(feedsOf(needed, windows, 0, 1))
    return Object.fromEntries(
      layers.map(({ layer, input, down }) => [
        ffInputName(layer),
        { rows: results[input]!.data as Float32Array, hidden: down.outputs },
      ]),
    )
  } finally {
    await session.release()
  }
}

async function compare(
  { rounds, warmUp, now, onRound }: FfSpeedOptions,
  { sparse, dense }: { readonly sparse: Session; readonly dense: Session },
  tokens: number,
  feeds: (round: number) => Record<string, Tensor>,
): Promise<Comparison> {
  const run = (session: Session) => (round: number) => session.run(only(feeds(round), session))
  const timings = await timeInTurns([run(sparse), run(dense)], { rounds, warmUp, now, ...(onRound ? { onRound } : {}) })
  return comparisonOf(tokens, timings[0]!, timings[1]!)
}

/** How two timings of the same tokens compare. */
export function comparisonOf(tokens: number, sparse: Timing, dense: Timing): Comparison {
  return { tokens, sparse, dense, speedup: dense.medianMs / sparse.medianMs }
}

/** Rows [first, first + tokens) of every input. A mixture of one expert makes its expert numbers from input_ids. */
function feedsAt(inputs: FfInputs, first: number, tokens: number): Record<string, Tensor> {
  const rows = Object.entries(inputs).map(([name, { rows, hidden }]): [string, Tensor] => [
    name,
    { type: 'float32', dims: [tokens, hidden], data: rows.subarray(first * hidden, (first + tokens) * hidden) },
  ])
  return {
    ...Object.fromEntries(rows),
    input_ids: { type: 'int64', dims: [1, tokens], data: new BigInt64Array(tokens) },
  }
}

/** The feeds that a session asks for. */
function only(feeds: Readonly<Record<string, Tensor>>, session: Session): Record<string, Tensor> {
  return Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]!]))
}
