import type { TensorTypeName } from '../src/formats/onnx/types.ts'
import type { ExternalData, GraphBuilder, ValueName } from '../src/graph/builder.ts'
import type { DType } from '../src/tensor/dtype.ts'
import { UnsupportedError } from '../src/errors.ts'
import { int, TO_FLOAT } from './attributes.ts'

/** A tensor of a .safetensors file beside the graph. */
export type PlacedTensor = { readonly dtype: DType; readonly shape: readonly number[]; readonly external: ExternalData }

/** Where a tensor lies, by its full name. Throws FormatError for one that is not there. */
export type PlaceOf = (name: string) => PlacedTensor

const ONNX_TYPES: Readonly<Partial<Record<DType, TensorTypeName>>> = {
  F32: 'float',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I8: 'int8',
  U8: 'uint8',
}

/** The tensor as it is stored. */
export function stored(b: GraphBuilder, place: PlaceOf, name: string): ValueName {
  const { dtype, shape, external } = place(name)
  const type = ONNX_TYPES[dtype]
  if (!type)
    throw new UnsupportedError(
      `Cannot export tensor "${name}": its dtype is ${dtype}, supported are ${Object.keys(ONNX_TYPES).join(', ')}`,
    )
  return b.external(name, type, shape, external)
}

/** The tensor as float32: runtimes fold the Cast of f16 and bf16 weights while loading. */
export function asFloat(b: GraphBuilder, place: PlaceOf, name: string): ValueName {
  const value = stored(b, place, name)
  return place(name).dtype === 'F32' ? value : b.node(`/${name}`, 'Cast', [value], TO_FLOAT)
}

/** y (T, N) = x (T, K) Wᵀ [+ bias], W (N, K). */
export function linear(b: GraphBuilder, path: string, x: ValueName, W: ValueName, bias?: ValueName): ValueName {
  return b.node(path, 'Gemm', [x, W, ...(bias ? [bias] : [])], { transB: int(1) })
}

/**
 * x / sqrt(mean(x²) + ε) · scale over the last axis, in standard operators; onnxruntime fuses them into one.
 *
 *   x ── Pow 2 ── ReduceMean ── Add ε ── Sqrt ──┐
 *   x ───────────────────────────────────────── Div ── Mul scale
 */
export function rmsNorm(b: GraphBuilder, path: string, x: ValueName, scale: ValueName, epsilon: number): ValueName {
  const square = b.node(path, 'Pow', [x, b.constant('float', [], [2])])
  const mean = b.node(path, 'ReduceMean', [square, b.ints(-1)], { keepdims: int(1) })
  const root = b.node(path, 'Sqrt', [b.node(path, 'Add', [mean, b.constant('float', [], [epsilon])])])
  return b.node(path, 'Mul', [b.node(path, 'Div', [x, root]), scale])
}
