import fs from 'node:fs'
import path from 'node:path'
import { UnsupportedError } from '../errors.ts'
import type { TensorTypeName } from '../formats/onnx/types.ts'
import type { TensorRole } from '../model/families.ts'
import type { OpenedModel } from '../model/open.ts'
import type { DType } from '../tensor/dtype.ts'
import type { ExternalData, GraphBuilder, ValueName } from './builder.ts'

/** A tensor of a .safetensors file beside the graph. */
export type PlacedTensor = { readonly dtype: DType; readonly shape: readonly number[]; readonly external: ExternalData }

/** Where a tensor lies, by its full name. Throws FormatError for one that is not there. */
export type PlaceOf = (name: string) => PlacedTensor

/** A model whose weights lie where `place` says: in its own files, or in those of an artifact. */
export type Source = { readonly model: OpenedModel; readonly place: PlaceOf }

const ONNX_TYPES: Readonly<Partial<Record<DType, TensorTypeName>>> = {
  F32: 'float',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I8: 'int8',
  U8: 'uint8',
}

/** The model over its own weight files, seen from its data folder. */
export function sourceOf(model: OpenedModel): Source {
  return {
    model,
    place(name) {
      const { dtype, shape, file, offset, byteLength } = model.weights.get(name)
      // The hub's cache has links under the names of weight files, and the files themselves under their hashes.
      const location = path.basename(fs.realpathSync(file))
      return { dtype, shape, external: { location, offset, length: byteLength } }
    },
  }
}

/** Where a layer's nodes are put: '/model/layers.3'. */
export function layerPath(layer: number): string {
  return `/model/layers.${layer}`
}

/** A tensor as it is stored, by its full name. */
export function stored(b: GraphBuilder, place: PlaceOf, name: string): ValueName {
  const { dtype, shape, external } = place(name)
  const type = ONNX_TYPES[dtype]
  if (!type)
    throw new UnsupportedError(
      `Cannot use tensor "${name}" in a graph: its dtype is ${dtype}, supported are ${Object.keys(ONNX_TYPES).join(', ')}`,
    )
  return b.external(name, type, shape, external)
}

/** The same as float32: runtimes fold the Cast of f16 and bf16 weights while loading. */
export function asFloat(b: GraphBuilder, place: PlaceOf, name: string): ValueName {
  const value = stored(b, place, name)
  return place(name).dtype === 'F32' ? value : castToFloat(b, `/${name}`, value)
}

/** A tensor of the model as float32. */
export function weight(
  b: GraphBuilder,
  { model, place }: Source,
  role: TensorRole,
  layer?: number,
  part: 'weight' | 'bias' = 'weight',
): ValueName {
  return asFloat(b, place, model.tensorName(role, layer, part))
}

/** Rows of a table by their numbers: gathers before the Cast, so that a half-precision table is never widened as a whole. */
export function rowsOf(
  b: GraphBuilder,
  at: string,
  { model, place }: Source,
  role: TensorRole,
  ids: ValueName,
): ValueName {
  const name = model.tensorName(role)
  const rows = b.node(at, 'Gather', [stored(b, place, name), ids])
  return place(name).dtype === 'F32' ? rows : castToFloat(b, at, rows)
}

/** x as float32. */
export function castToFloat(b: GraphBuilder, path: string, x: ValueName): ValueName {
  return b.node(path, 'Cast', [x], { to: { type: 'int', i: 1 } })
}
