import type { Graph, Model, TensorProto } from '../formats/onnx/types.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'
import type { FfLayer, Product } from './ff-layers.ts'
import { productsOf } from './ff-layers.ts'

/** Bytes of weights that one token reads. */
export type TokenBytes = {
  /** FF matrices: as stored in the artifact, mean over experts; and dense as f32, as onnxruntime holds them. */
  readonly ffSparse: number
  readonly ffDense: number
  /** Everything else that a product reads, as f32: attention, norms, head. */
  readonly other: number
}

/** Weights read for one token, by the shapes of the artifact. */
export function tokenBytes({ graph }: Model, layers: readonly FfLayer[], store: TensorStore): TokenBytes {
  const products = layers.flatMap((layer) => productsOf(layer))
  const isSparse = new Set(products.flatMap(({ node }) => node.input.slice(2)))
  const rest = graph.initializer.filter(({ name, dims }) => !isSparse.has(name) && dims.length > 0)
  const isLookedUp = lookedUpOnly(graph)
  return {
    ffSparse: sum(products.map((product) => storedBytes(product, store) / product.experts)),
    ffDense: sum(products.map(({ outputs, inputs }) => 4 * outputs * inputs)),
    other: sum(
      rest.filter(({ name, type }) => isFloat(type) && !isLookedUp(name)).map(({ dims }) => 4 * elements(dims)),
    ),
  }
}

/** Bytes of all experts of a product: mask, values, offsets, and scales where there are any. */
function storedBytes({ node }: Product, store: TensorStore): number {
  return sum(node.input.slice(2).map((name) => store.get(name).byteLength))
}

/** Whether an initializer is only ever asked for single rows, as the embedding of an untied model is. */
function lookedUpOnly({ node }: Graph): (name: string) => boolean {
  const readers = new Map<string, string[]>()
  for (const { opType, input } of node)
    for (const name of input) readers.set(name, [...(readers.get(name) ?? []), opType])
  return (name) => (readers.get(name) ?? []).every((opType) => opType === 'Gather')
}

function isFloat(type: TensorProto['type']): boolean {
  return type === 'float' || type === 'float16' || type === 'bfloat16'
}

function elements(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
