import { IntegrityError } from '../errors.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'

/** How the kept weights of a stack are stored (docs/formats.md). */
export type StoredType = 'f16' | 'bf16' | 'int8' | 'int4'

/** Shape of an expert stack in an artifact. */
export type StackShape = {
  readonly experts: number
  readonly outputs: number
  readonly rowBytes: number
  readonly type: StoredType
  /** Scales of a row; 0 where values are the weights themselves. */
  readonly groups: number
  /** Values there are, without the zero before them; of int4 the last one may be unused. */
  readonly available: number
}

const TYPES: Readonly<Partial<Record<string, StoredType>>> = { F16: 'f16', BF16: 'bf16', I8: 'int8', U8: 'int4' }

/**
 * Shape of the stack `base` ('model.layers.0.mlp.gate_proj.experts'), after checking types and shapes of its tensors.
 * Throws IntegrityError where they do not belong together, FormatError when one is missing.
 */
export function stackShape(store: TensorStore, base: string): StackShape {
  const [mask, values, offsets] = ['mask', 'values', 'row_offsets'].map((part) => store.get(`${base}.${part}`))
  const [experts, outputs, rowBytes] = mask!.shape
  const type = TYPES[values!.dtype]
  const sound =
    mask!.dtype === 'U8' &&
    mask!.shape.length === 3 &&
    type !== undefined &&
    values!.shape.length === 1 &&
    values!.shape[0]! >= 1 &&
    offsets!.dtype === 'I64' &&
    offsets!.shape.join() === `${experts},${outputs}`
  if (!sound)
    throw damaged(
      base,
      `got mask ${mask!.dtype} [${mask!.shape.join(', ')}], values ${values!.dtype} [${values!.shape.join(', ')}], ` +
        `row_offsets ${offsets!.dtype} [${offsets!.shape.join(', ')}], expected U8 [E, N, ⌈K/8⌉], ` +
        'F16, BF16, I8 or U8 [1 + kept], I64 [E, N]',
    )
  return {
    experts: experts!,
    outputs: outputs!,
    rowBytes: rowBytes!,
    type,
    groups: type === 'int8' || type === 'int4' ? groupsOf(store, base, `${experts},${outputs}`) : 0,
    available: values!.shape[0]! * (type === 'int4' ? 2 : 1) - 1,
  }
}

/** G of scales F16 [E, N, G]. */
function groupsOf(store: TensorStore, base: string, rows: string): number {
  const { dtype, shape } = store.get(`${base}.scales`)
  if (dtype !== 'F16' || shape.length !== 3 || shape.slice(0, 2).join() !== rows || shape[2]! < 1)
    throw damaged(base, `got scales ${dtype} [${shape.join(', ')}], expected F16 [${rows.replace(',', ', ')}, G]`)
  return shape[2]!
}

/**
 * The scale of an input among those of its row. How many inputs share one is in the metadata of the file. Throws
 * IntegrityError when that does not fit the number of scales.
 */
export function scaleIndex(
  store: TensorStore,
  base: string,
  { groups }: StackShape,
  inputs: number,
): (input: number) => number {
  if (groups <= 1) return () => 0
  const text = store.metadata.get('spexpand.group_size')
  const groupSize = Number(text)
  if (!(groupSize > 0 && groupSize % 32 === 0 && Math.ceil(inputs / groupSize) === groups))
    throw damaged(base, `its rows have ${groups} scales for ${inputs} inputs, spexpand.group_size is ${text}`)
  return (input) => Math.floor(input / groupSize)
}

export function damaged(base: string, what: string): IntegrityError {
  return new IntegrityError(`Expert stack "${base}" is damaged: ${what}`)
}
