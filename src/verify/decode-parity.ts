import { GateError } from '../errors.ts'
import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'
import type { Provider } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'
import { decodeExpert } from './decode.ts'
import type { FfLayer, Product } from './ff-layers.ts'
import { productsOf } from './ff-layers.ts'
import { productModel } from './submodel.ts'

/** Columns of an expert that a provider is asked for, spread over all inputs. */
const COLUMNS = 8
/** Kernels that round x to int8 take a 1 for 127 steps of 1/127, which is not 1 to the last bit. */
const QUANTISED_TOLERANCE = 1e-5

/** How a provider decodes the experts: weights compared, and the largest difference, relative to the largest weight. */
export type DecodeParity = {
  readonly provider: Provider
  readonly weights: number
  readonly maxDifference: number
}

type Options = {
  readonly folder: string
  readonly threads: number
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Asks providers for columns of every expert of every product, by multiplying with unit vectors, and compares them with
 * the decoder that only knows docs/formats.md. A product with one 1 in x has one term: it is exact.
 * Throws GateError naming matrix and expert when a weight differs.
 */
export async function checkDecoding(
  graph: Model,
  layers: readonly FfLayer[],
  store: TensorStore,
  providers: readonly Provider[],
  options: Options,
): Promise<DecodeParity[]> {
  const results = providers.map((provider) => ({ provider, weights: 0, maxDifference: 0 }))
  const products = layers.flatMap((layer) => productsOf(layer))
  for (const [done, product] of products.entries()) {
    options.onProgress?.(done, products.length)
    const columns = spread(product.inputs)
    const found: Float32Array[] = []
    for (const provider of providers) found.push(await columnsOf(graph, product, columns, { ...options, provider }))
    for (let expert = 0; expert < product.experts; expert++) {
      const W = decodeExpert(store, product.base, expert, product.inputs)
      for (const [i, y] of found.entries()) {
        const at = expert * columns.length * product.outputs
        const difference = largestDifference(W, y.subarray(at, at + columns.length * product.outputs), product, columns)
        assertDecoded(results[i]!.provider, product, expert, difference)
        results[i]!.maxDifference = Math.max(results[i]!.maxDifference, difference)
        results[i]!.weights += columns.length * product.outputs
      }
    }
  }
  options.onProgress?.(products.length, products.length)
  return results
}

function assertDecoded(provider: Provider, { node, base }: Product, expert: number, difference: number): void {
  const limit = node.opType === 'SparseExpertMatMul' ? 0 : QUANTISED_TOLERANCE
  if (difference <= limit) return
  throw new GateError(
    `"${provider}" decodes "${base}" expert ${expert} wrongly: a weight differs by ${difference} of the largest, wanted ` +
      `at most ${limit}`,
    { provider, base, expert, difference, limit },
  )
}

/** Columns (experts, columns, outputs) of the weights, as the provider sees them. */
async function columnsOf(
  graph: Model,
  product: Product,
  columns: readonly number[],
  { folder, threads, provider }: Options & { readonly provider: Provider },
): Promise<Float32Array> {
  const { experts, inputs } = product
  const tokens = experts * columns.length
  const x = new Float32Array(tokens * inputs)
  for (let t = 0; t < tokens; t++) x[t * inputs + columns[t % columns.length]!] = 1
  const expert = BigInt64Array.from({ length: tokens }, (_, t) => BigInt(Math.floor(t / columns.length)))
  const session = await createSession(encodeModel(productModel(graph, product)), { folder, threads, provider })
  try {
    const { y } = await session.run({
      x: { type: 'float32', dims: [tokens, inputs], data: x },
      expert: { type: 'int64', dims: [tokens], data: expert },
    })
    return y!.data as Float32Array
  } finally {
    await session.release()
  }
}

/** Some inputs from the first to the last. */
function spread(inputs: number): number[] {
  const count = Math.min(COLUMNS, inputs)
  return Array.from({ length: count }, (_, i) => (count === 1 ? 0 : Math.floor((i * (inputs - 1)) / (count - 1))))
}

function largestDifference(
  W: Float32Array,
  y: Float32Array,
  { inputs, outputs }: Product,
  columns: readonly number[],
): number {
  let largest = 0
  let difference = 0
  for (let i = 0; i < W.length; i++) largest = Math.max(largest, Math.abs(W[i]!))
  for (const [c, k] of columns.entries())
    for (let n = 0; n < outputs; n++)
      difference = Math.max(difference, Math.abs(y[c * outputs + n]! - W[n * inputs + k]!)) // NaN stays
  return largest === 0 ? difference : difference / largest
}
