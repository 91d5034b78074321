import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import type { Provider, Tensor } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'
import { createDecoder } from './decoder.ts'
import type { HirePart } from './hire-parts.ts'
import { rowsOf } from './hire-parts.ts'
import { extract } from './submodel.ts'
import type { Contender, Timing } from './timing.ts'
import { timeInTurns } from './timing.ts'

/** One token without HiRE, with it in stock onnxruntime, and with the native operators, in turns. */
export type HireSides = { readonly without: Timing; readonly stock?: Timing; readonly native?: Timing }

/** What HiRE does to the time of one token: FF layers alone, the head alone, the whole model behind a prompt. */
export type HireTimes = { readonly ff?: HireSides; readonly softmax?: HireSides; readonly model: HireSides }

export type HireTimeOptions = {
  /** The same decoder without and with HiRE; external data of both in `folder`. */
  readonly plain: Model
  readonly hire: Model
  readonly parts: readonly HirePart[]
  readonly folder: string
  readonly threads: number
  readonly rounds: number
  /** Whether the native operators are timed too. */
  readonly isNative: boolean
  /** Experts are stored sparse: with the native operators the plain graph runs on them too, and stock is left out. */
  readonly isSparse: boolean
  /** Parts to time beside the model. @default both, where they are */
  readonly only?: readonly ('ff' | 'softmax')[]
  readonly now: () => number
}

type Side = keyof HireSides
type Opened = { readonly side: Side; readonly step: Contender; readonly release: () => Promise<unknown> }

const WARM_UP = 3
const PROMPT = 32

/** Times a graph with HiRE against the same without. Which tokens they are takes no time: their number does. */
export async function timeHire(options: HireTimeOptions): Promise<HireTimes> {
  const { parts, only } = options
  const [ffs, heads] = [
    parts.filter(({ where }) => where !== 'softmax'),
    parts.filter(({ where }) => where === 'softmax'),
  ]
  const wants = (what: 'ff' | 'softmax'): boolean => only === undefined || only.includes(what)
  const ff = wants('ff') && ffs.length > 0 ? { ff: await partSides(options, ffs) } : {}
  const softmax = wants('softmax') && heads.length > 0 ? { softmax: await partSides(options, heads) } : {}
  return { ...ff, ...softmax, model: await sidesOf(options, (side) => modelSide(options, side)) }
}

/** Graph and provider of a side. */
function sideOf(
  { plain, hire, isNative, isSparse }: HireTimeOptions,
  side: Side,
): { graph: Model; provider: Provider } {
  switch (side) {
    case 'without':
      return { graph: plain, provider: isSparse && isNative ? 'spexpand' : 'cpu' }
    case 'stock':
      return { graph: hire, provider: 'cpu' }
    case 'native':
      return { graph: hire, provider: 'spexpand' }
  }
}

async function sidesOf(options: HireTimeOptions, open: (side: Side) => Promise<Opened>): Promise<HireSides> {
  const { isNative, isSparse, rounds, now } = options
  const sides: Side[] = ['without', ...(isSparse && isNative ? [] : ['stock' as const])]
  if (isNative) sides.push('native')
  const opened: Opened[] = []
  try {
    for (const side of sides) opened.push(await open(side))
    const steps = opened.map(({ step }) => step)
    const timings = await timeInTurns(steps, { warmUp: WARM_UP, rounds, now })
    return Object.fromEntries(sides.map((side, i) => [side, timings[i]!])) as HireSides
  } finally {
    for (const { release } of opened) await release()
  }
}

/** Some parts side by side in one run, on rows that are not those of a text. */
function partSides(options: HireTimeOptions, parts: readonly HirePart[]): Promise<HireSides> {
  return sidesOf(options, async (side) => {
    const { graph, provider } = sideOf(options, side)
    const cut = extract(
      graph,
      parts.map(({ x }) => rowsOf(x)),
      parts.map(({ y }) => rowsOf(y)),
    )
    const { threads, folder } = options
    const session = await createSession(encodeModel(cut), { threads, provider, folder, takesTurns: true })
    const width = widthOf(options.plain, parts[0]!)
    const x = Float32Array.from({ length: width }, (_, i) => Math.sin(i))
    const feeds: Record<string, Tensor> = Object.fromEntries(
      parts.map((part) => [part.x, { type: 'float32', dims: [1, width], data: x }]),
    )
    return { side, step: () => session.run(feeds), release: () => session.release() }
  })
}

async function modelSide(options: HireTimeOptions, side: Side): Promise<Opened> {
  const { graph, provider } = sideOf(options, side)
  const { folder, threads } = options
  const source = encodeModel(graph)
  const decoder = await createDecoder({ graph, source, folder, threads, provider, takesTurns: true })
  await decoder.step(Array.from({ length: PROMPT }, (_, i) => i % decoder.vocab))
  return { side, step: () => decoder.step([1]), release: () => decoder.release() }
}

/** Inputs of the first product that reads a value, from the shape of its weights. */
function widthOf({ graph }: Model, { x }: HirePart): number {
  const product = graph.node.find(({ opType, input }) => opType === 'Gemm' && input[0] === x)!
  const cast = graph.node.find(({ output }) => output[0] === product.input[1])
  const name = cast?.opType === 'Cast' ? cast.input[0] : product.input[1]
  const dims = graph.initializer.find((tensor) => tensor.name === name)!.dims
  const isTransposed = product.attribute.some((one) => one.type === 'int' && one.name === 'transB' && one.i === 1)
  return isTransposed ? dims[1]! : dims[0]!
}
