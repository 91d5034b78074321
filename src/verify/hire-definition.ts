import { FormatError } from '../errors.ts'
import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import type { Provider, Session, Tensor } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'
import type { WindowIds } from './hidden.ts'
import { feedsOf } from './hidden.ts'
import type { HirePart } from './hire-parts.ts'
import { rowsOf } from './hire-parts.ts'
import type { HireRule } from './hire-rule.ts'
import { byRule } from './hire-rule.ts'
import { extract } from './submodel.ts'

/** How far a graph with HiRE is from what its predictors and the graph without it define, on one provider. */
export type HireParity = {
  readonly provider: Provider
  /** Rows of FF inputs and of inputs of the head that were compared, through runs of several tokens and of one. */
  readonly rows: number
  /** Largest difference from exact results of the neurons and rows that were selected, relative to the largest of them. */
  readonly relativeDifference: number
  /** Share of what was selected that the decoded predictors select too: they do not round x, a runtime may. */
  readonly agreement: number
}

/** Tokens that are compared, and how many of them also one by one. */
const TOKENS = 16
const SINGLE = 3

export type DefinitionOptions = {
  readonly plain: Model
  readonly hire: Model
  readonly parts: readonly HirePart[]
  /** The rule of a part, by its tensors. */
  readonly ruleOf: (part: HirePart) => HireRule
  readonly folder: string
  readonly threads: number
  readonly providers: readonly Provider[]
  readonly windows: WindowIds
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Runs what hire.onnx has in place of products alone, on inputs that text gives, and compares it with its definition: the
 * selected neurons or rows by the products of model.onnx, the others 0 or as predicted; and what was selected with what
 * predictors decoded from hire.safetensors select.
 */
export async function checkHireDefinition(options: DefinitionOptions): Promise<HireParity[]> {
  const { plain, hire, parts, folder, threads, providers } = options
  const xs = parts.map(({ x }) => rowsOf(x))
  const inputs = await inputsOf(options)
  const middle = parts.map((part) => (part.where === 'softmax' ? part.y : intermediateOf(plain, part)))
  const exactSession = await open(
    extract(
      plain,
      xs,
      unique(middle).map((name) => rowsOf(name)),
    ),
    folder,
    threads,
    'cpu',
  )
  const ffs = parts.filter(({ where }) => where !== 'softmax')
  const downInputs = ffs.map((part) => rowsOf(intermediateOf(plain, part)))
  const down =
    ffs.length === 0
      ? undefined
      : await open(
          extract(
            plain,
            downInputs,
            ffs.map(({ y }) => rowsOf(y)),
          ),
          folder,
          threads,
          'cpu',
        )
  const results: HireParity[] = []
  try {
    const exact = await exactSession.run(inputs)
    const outputs = parts.flatMap(({ y, picked }) => [rowsOf(y), rowsOf(picked, 'int64')])
    for (const [i, provider] of providers.entries()) {
      options.onProgress?.(i, providers.length)
      const session = await open(extract(hire, xs, outputs), folder, threads, provider)
      try {
        results.push(await compared(options, provider, { session, down, inputs, exact }))
      } finally {
        await session.release()
      }
    }
  } finally {
    await exactSession.release()
    await down?.release()
  }
  return results
}

type Bench = {
  readonly session: Session
  readonly down: Session | undefined
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly exact: Readonly<Record<string, Tensor>>
}

async function compared(
  { plain, parts, ruleOf }: DefinitionOptions,
  provider: Provider,
  { session, down, inputs, exact }: Bench,
): Promise<HireParity> {
  const starts = [{ from: 0, count: TOKENS }, ...Array.from({ length: SINGLE }, (_, from) => ({ from, count: 1 }))]
  const runs: Run[] = []
  for (const at of starts) {
    const given = Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, cut(x, at.from, at.count)]))
    runs.push({ ...at, found: await session.run(given), masked: {}, wanted: {} })
  }
  let [difference, agreeing, selected] = [0, 0, 0]
  for (const part of parts) {
    // Decoded once for all runs: a predictor of a large head has some 100 MB.
    const rule = ruleOf(part)
    const name = part.where === 'softmax' ? part.y : intermediateOf(plain, part)
    for (const { from, count, found, masked, wanted } of runs) {
      const [x, of] = [cut(inputs[part.x]!, from, count), cut(exact[name]!, from, count)]
      const result = byRule(rule, { x, exact: of, picked: found[part.picked]! })
      agreeing += result.agreeing
      selected += result.selected
      if (part.where === 'softmax') wanted[part.y] = onlyPicked(result.values, found[part.y]!, result.isPicked)
      else masked[name] = result.values
    }
  }
  for (const { found, masked, wanted } of runs) {
    const all = { ...wanted, ...(await down?.run(masked)) }
    for (const { y } of parts) difference = Math.max(difference, relative(floats(found[y]!), floats(all[y]!)))
  }
  const rows = parts.length * (TOKENS + SINGLE)
  return { provider, rows, relativeDifference: difference, agreement: agreeing / selected }
}

/** Some rows through hire.onnx, and what its definition makes of them: intermediates, and logits. */
type Run = {
  readonly from: number
  readonly count: number
  readonly found: Readonly<Record<string, Tensor>>
  readonly masked: Record<string, Tensor>
  readonly wanted: Record<string, Tensor>
}

/** FF inputs and inputs of the head on the first tokens of the text, as the graph without HiRE computes them. */
async function inputsOf({
  plain,
  parts,
  folder,
  threads,
  windows,
}: DefinitionOptions): Promise<Record<string, Tensor>> {
  const names = unique(parts.map(({ x }) => x))
  const session = await open(
    extract(
      plain,
      [],
      names.map((name) => rowsOf(name)),
    ),
    folder,
    threads,
    'cpu',
  )
  try {
    const ids = windows.ids.slice(0, TOKENS)
    if (ids.length < TOKENS)
      throw new FormatError(`Cannot compare HiRE with its definition on ${ids.length} tokens of text: wanted ${TOKENS}`)
    const feeds = feedsOf(plain.graph.input, { ids, nWindows: 1, sequenceLength: TOKENS }, 0, 1)
    const needed = Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]!]))
    return await session.run(needed)
  } finally {
    await session.release()
  }
}

/** The value that goes into the product whose result HiRE gives. */
function intermediateOf({ graph }: Model, { y, where }: HirePart): string {
  const product = graph.node.find(({ output }) => output[0] === y)
  if (product?.opType !== 'Gemm')
    throw new FormatError(`Cannot verify block ${where}: what HiRE stands in for ends in no product of model.onnx`)
  return product.input[0]!
}

/** Predicted logits are compared nowhere: a runtime may round x for them. */
function onlyPicked(wanted: Tensor, found: Tensor, isPicked: Uint8Array): Tensor {
  const values = floats(found).map((value, i) => (isPicked[i] === 1 ? floats(wanted)[i]! : value))
  return { type: 'float32', dims: wanted.dims, data: values }
}

function cut({ type, dims, data }: Tensor, from: number, count: number): Tensor {
  const width = data.length / dims[0]!
  return { type, dims: [count, ...dims.slice(1)], data: data.slice(from * width, (from + count) * width) } as Tensor
}

function relative(found: Float32Array, wanted: Float32Array): number {
  let [difference, most] = [0, 0]
  for (let i = 0; i < found.length; i++) {
    const distance = Math.abs(found[i]! - wanted[i]!)
    // NaN is as far as can be.
    difference = distance <= difference ? difference : Number.isNaN(distance) ? Infinity : distance
    most = Math.max(most, Math.abs(wanted[i]!))
  }
  return difference === 0 ? 0 : difference / most
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)]
}

function open(graph: Model, folder: string, threads: number, provider: Provider): Promise<Session> {
  return createSession(encodeModel(graph), { folder, threads, provider })
}

function floats(tensor: Tensor): Float32Array {
  return tensor.data as Float32Array
}
