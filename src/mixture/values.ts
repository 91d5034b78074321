import { FormatError } from '../errors.ts'
import type { Grid } from '../prune/grid.ts'
import type { DType } from '../tensor/dtype.ts'

export type { Grid } from '../prune/grid.ts'
export { checkGrid, scaleGroups } from '../prune/grid.ts'

/** How the kept weights are stored (docs/formats.md); groupSize as in Grid. */
export type ValueForm =
  | { readonly type: 'f16' | 'bf16' }
  | { readonly type: 'int8' | 'int4'; readonly groupSize: number }
export type ValueType = ValueForm['type']

/** Every value type there is. */
export const VALUE_TYPES = ['f16', 'bf16', 'int8', 'int4'] as const satisfies readonly ValueType[]

/** Element types of the tensor `values`. */
export const VALUE_DTYPES: Readonly<Record<ValueType, DType>> = { f16: 'F16', bf16: 'BF16', int8: 'I8', int4: 'U8' }

/** The grid that weights of a form lie on; none for floats. */
export function gridOf(form: ValueForm): Grid | undefined {
  return 'groupSize' in form ? { bits: form.type === 'int8' ? 8 : 4, groupSize: form.groupSize } : undefined
}

/** The value type that a tensor `values` holds. Throws FormatError for any other element type. */
export function valueTypeOf(dtype: DType): ValueType {
  const found = VALUE_TYPES.find((type) => VALUE_DTYPES[type] === dtype)
  if (!found)
    throw new FormatError(`Cannot read values of dtype ${dtype}: wanted ${Object.values(VALUE_DTYPES).join(', ')}`)
  return found
}

/** Bytes of the tensor `values` for so many kept weights: a zero comes first. */
export function valueBytes(type: ValueType, kept: number): number {
  return type === 'int4' ? Math.ceil((1 + kept) / 2) : (1 + kept) * (type === 'int8' ? 1 : 2)
}
