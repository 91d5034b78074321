import path from 'node:path'
import type { TensorTypeName } from '../formats/onnx/types.ts'
import type { TensorInfo } from '../formats/safetensors/reader.ts'
import type { TensorRole } from '../model/families.ts'
import type { OpenedModel } from '../model/open.ts'
import type { GraphBuilder, ValueName } from './builder.ts'

const ONNX_TYPES: Readonly<Record<string, TensorTypeName>> = { F32: 'float', F16: 'float16', BF16: 'bfloat16' }

/** Where a layer's nodes are put: '/model/layers.3'. */
export function layerPath(layer: number): string {
  return `/model/layers.${layer}`
}

/** A tensor of the model as it is stored, mapped from its .safetensors file (seen from the model's data folder). */
export function storedWeight(
  b: GraphBuilder,
  model: OpenedModel,
  role: TensorRole,
  layer?: number,
  part: 'weight' | 'bias' = 'weight',
): ValueName {
  const info = model.tensor(role, layer, part)
  return b.external(info.name, onnxType(info), info.shape, {
    location: path.basename(info.file),
    offset: info.offset,
    length: info.byteLength,
  })
}

/** A tensor of the model as float32. onnxruntime folds the Cast when it loads the graph. */
export function weight(
  b: GraphBuilder,
  model: OpenedModel,
  role: TensorRole,
  layer?: number,
  part: 'weight' | 'bias' = 'weight',
): ValueName {
  const stored = storedWeight(b, model, role, layer, part)
  return model.tensor(role, layer, part).dtype === 'F32' ? stored : castToFloat(b, `/${stored}`, stored)
}

/** x as float32. */
export function castToFloat(b: GraphBuilder, path: string, x: ValueName): ValueName {
  return b.node(path, 'Cast', [x], { to: { type: 'int', i: 1 } })
}

function onnxType(info: TensorInfo): TensorTypeName {
  const type = ONNX_TYPES[info.dtype]
  if (type === undefined) throw new RangeError(`Cannot map "${info.name}" of type ${info.dtype} as a float weight`)
  return type
}
