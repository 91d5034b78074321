import { basename } from 'node:path'
import { IntegrityError } from '../errors.ts'
import type { Model } from '../formats/onnx/types.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'
import { decodeExpert } from './decode.ts'
import type { FfLayer, Product } from './ff-layers.ts'
import { productsOf } from './ff-layers.ts'

/** What the decoded experts of an artifact add up to. */
export type ExpertCount = {
  readonly matrices: number
  readonly experts: number
  readonly weights: number
  /** Weights that are not zero; a kept weight may be zero, so there may be more kept than that. */
  readonly nonZero: number
}

/** ONNX element types of the safetensors dtypes that graphs refer to. */
const TYPE_OF: Readonly<Record<string, string>> = {
  F32: 'float',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I8: 'int8',
  U8: 'uint8',
}
/** Metadata have six digits. */
const SPARSITY_TOLERANCE = 1e-5

/**
 * Compares every external initializer of a graph with the tensor of its name: file, byte range, type and shape. Throws
 * IntegrityError naming the first that differs. Returns how many there are.
 */
export function checkExternalData({ graph }: Model, store: TensorStore): number {
  let checked = 0
  for (const { name, type, dims, external } of graph.initializer) {
    if (!external) continue
    const tensor = store.tensors.get(name)
    const found = tensor && [
      basename(tensor.file),
      tensor.offset,
      tensor.byteLength,
      TYPE_OF[tensor.dtype],
      tensor.shape,
    ]
    const wanted = [external.location, external.offset, external.length, type, dims]
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      throw new IntegrityError(
        `model.onnx and its weights do not belong together: "${name}" is ${describe(wanted)} in model.onnx, ` +
          `${found ? describe(found) : 'absent'} in the weights: copy the artifact again`,
      )
    checked++
  }
  return checked
}

function describe([file, offset, bytes, type, shape]: readonly unknown[]): string {
  return `${String(type)} [${(shape as number[]).join(', ')}] at ${String(file)} ${String(offset)} (${String(bytes)} bytes)`
}

/**
 * Decodes every expert of every product from mask, values and offsets: row by row the offsets must be the count of the bits
 * before them, padding bits 0, values finite, and the share of zeros what the metadata say. Throws IntegrityError naming
 * the first that is not so.
 */
export function checkExperts(
  store: TensorStore,
  layers: readonly FfLayer[],
  onProgress?: (done: number, total: number) => void,
): ExpertCount {
  const products = layers.flatMap((layer) => productsOf(layer))
  const total = { matrices: products.length, experts: 0, weights: 0, nonZero: 0 }
  for (const [done, product] of products.entries()) {
    onProgress?.(done, products.length)
    const nonZero = checkProduct(store, product)
    const weights = product.experts * product.outputs * product.inputs
    // Kept weights that are zero make the matrix sparser than its mask, never denser.
    if (1 - nonZero / weights < product.sparsity - SPARSITY_TOLERANCE)
      throw new IntegrityError(
        `"${product.base}" is damaged: ${((1 - nonZero / weights) * 100).toFixed(3)} % of its weights are zero, its ` +
          `metadata say ${(product.sparsity * 100).toFixed(3)} %`,
      )
    total.experts += product.experts
    total.weights += weights
    total.nonZero += nonZero
  }
  onProgress?.(products.length, products.length)
  return total
}

/** Non-zero weights of all experts of a product. */
function checkProduct(store: TensorStore, product: Product): number {
  let nonZero = 0
  for (let expert = 0; expert < product.experts; expert++) {
    const W = decodeExpert(store, product.base, expert, product.inputs)
    for (let i = 0; i < W.length; i++) {
      const w = W[i]!
      if (w !== 0) nonZero++
      if (w - w !== 0)
        throw new IntegrityError(
          `"${product.base}" is damaged: expert ${expert} row ${Math.floor(i / product.inputs)} has a weight ${w}`,
        )
    }
  }
  return nonZero
}
