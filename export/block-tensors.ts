import { IntegrityError } from '../src/errors.ts'
import type { TensorFile } from '../src/formats/safetensors/reader.ts'
import { openSafetensors } from '../src/formats/safetensors/reader.ts'
import type { ValueForm } from '../src/mixture/values.ts'
import { scaleGroups, VALUE_DTYPES } from '../src/mixture/values.ts'
import type { OpenedModel } from '../src/model/open.ts'
import type { DType } from '../src/tensor/dtype.ts'
import type { FfMatrix } from './feed-forward.ts'
import { ffNames, routerNames } from './onnx.ts'
import type { TensorSource } from './shards.ts'

/** What the files of finished blocks hold, checked against the model. */
export type BlockTensors = {
  /** Of every layer. */
  readonly experts: readonly number[]
  readonly splitRouter: boolean
  readonly tensors: readonly TensorSource[]
  close(): void
}

/** The FF matrices of a model. */
export function ffMatrices({ config }: OpenedModel): readonly FfMatrix[] {
  return config.gated ? ['gate', 'up', 'down'] : ['up', 'down']
}

/**
 * Opens the finished blocks, one .safetensors file per layer, with tensors named as in the artifact. Reads headers only.
 * Throws IntegrityError when a file lacks a tensor or one has another type or shape than model and experts ask for.
 */
export function openBlocks(model: OpenedModel, paths: readonly string[], values: ValueForm): BlockTensors {
  if (paths.length !== model.config.layers)
    throw new IntegrityError(`Cannot export: got ${paths.length} finished blocks, the model has ${model.config.layers}`)
  const files: TensorFile[] = []
  const close = (): void => files.forEach((file) => file.close())
  try {
    for (const path of paths) files.push(openSafetensors(path))
    const experts = files.map((file, layer) => {
      const { gate } = ffNames(model, layer)
      return file.tensors.get(`${gate}.experts.mask`)?.shape[0] ?? 1
    })
    const splitRouter = files.some((file, layer) => file.tensors.has(`${ffNames(model, layer).down}.router.weight`))
    const tensors = files.flatMap((file, layer) =>
      blockTensors(model, file, layer, { experts: experts[layer]!, splitRouter, values }),
    )
    return { experts, splitRouter, tensors, close }
  } catch (error) {
    close()
    throw error
  }
}

function blockTensors(
  model: OpenedModel,
  file: TensorFile,
  layer: number,
  { experts, splitRouter, values }: { experts: number; splitRouter: boolean; values: ValueForm },
): TensorSource[] {
  const { hidden, ff } = model.config
  const names = ffNames(model, layer)
  const { router, downRouter } = routerNames(names)
  const of = (name: string, dtype: DType, shape: readonly (number | undefined)[]): TensorSource =>
    checked(file, name, dtype, shape)
  const stacks = ffMatrices(model).flatMap((matrix) => {
    const [outputs, inputs] = matrix === 'down' ? [hidden, ff] : [ff, hidden]
    return [
      of(`${names[matrix]}.experts.mask`, 'U8', [experts, outputs, Math.ceil(inputs / 8)]),
      of(`${names[matrix]}.experts.values`, VALUE_DTYPES[values.type], [undefined]),
      ...('groupSize' in values
        ? [of(`${names[matrix]}.experts.scales`, 'F16', [experts, outputs, scaleGroups(values, inputs)])]
        : []),
      of(`${names[matrix]}.experts.row_offsets`, 'I64', [experts, outputs]),
    ]
  })
  const routerOf = (base: string, inputs: number): TensorSource[] => [
    of(`${base}.weight`, 'F32', [experts, inputs]),
    of(`${base}.bias`, 'F32', [experts]),
  ]
  if (experts === 1) return stacks
  return [...stacks, ...routerOf(router, hidden), ...(splitRouter ? routerOf(downRouter, ff) : [])]
}

/** A tensor of a block file. `undefined` in the shape is any size. */
function checked(file: TensorFile, name: string, dtype: DType, shape: readonly (number | undefined)[]): TensorSource {
  const info = file.tensors.get(name)
  const fits =
    info?.dtype === dtype &&
    info.shape.length === shape.length &&
    shape.every((size, i) => size === undefined || size === info.shape[i])
  if (!fits)
    throw new IntegrityError(
      `Cannot export ${file.path}: tensor "${name}" is ${info ? `${info.dtype} [${info.shape.join(', ')}]` : 'missing'}, ` +
        `expected ${dtype} [${shape.map((size) => size ?? 'any').join(', ')}]: remove the file and run again`,
    )
  return { name, dtype, shape: info.shape, read: (start, end) => file.readBytes(name, start, end) }
}
