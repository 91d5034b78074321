import { keptCount } from './bitmask.ts'
import type { PackedExpert } from './expert.ts'
import type { ValueForm } from './values.ts'
import { packNibbles, unpackNibbles } from './nibbles.ts'

/** All experts of one matrix as the artifact stores them (docs/formats.md). */
export type ExpertStack = {
  readonly form: ValueForm
  /** (experts, outputs, ⌈inputs / 8⌉) */
  readonly mask: Uint8Array
  /**
   * (1 + kept weights of all experts): f16 or bf16 bits, int8, or int4 two a byte, low half first. The first is 0: what
   * the portable decoder reads for pruned weights.
   */
  readonly values: Uint16Array | Int8Array | Uint8Array
  /** (experts, outputs, groups): f16 bits, of int8 and int4 only. */
  readonly scales?: Uint16Array
  /** (experts, outputs): kept weights before the row, over the whole stack. */
  readonly rowOffsets: BigInt64Array
}

/** Joins the experts of one matrix, all of one form. */
export function stackExperts(experts: readonly PackedExpert[]): ExpertStack {
  const sum = (length: (expert: PackedExpert) => number): number => experts.reduce((n, e) => n + length(e), 0)
  const { form } = experts[0]!
  const count = 1 + sum((e) => e.values.length)
  const isGrid = 'groupSize' in form
  const mask = new Uint8Array(sum((e) => e.mask.length))
  const values = isGrid ? new Int8Array(count) : new Uint16Array(count)
  const scales = new Uint16Array(sum((e) => e.scales?.length ?? 0))
  const rowOffsets = new BigInt64Array(sum((e) => e.rowStarts.length))
  let maskAt = 0
  let valueAt = 0
  let scaleAt = 0
  let rowAt = 0
  for (const expert of experts) {
    mask.set(expert.mask, maskAt)
    values.set(expert.values, 1 + valueAt)
    scales.set(expert.scales ?? [], scaleAt)
    for (const start of expert.rowStarts) rowOffsets[rowAt++] = BigInt(valueAt + start)
    maskAt += expert.mask.length
    valueAt += expert.values.length
    scaleAt += expert.scales?.length ?? 0
  }
  const packed = form.type === 'int4' ? packNibbles(values as Int8Array) : values
  return { form, mask, values: packed, ...(isGrid ? { scales } : {}), rowOffsets }
}

/** One expert of a stack of `count`, the inverse of stackExperts(); copies, so that one expert can be sent to a worker by itself. */
export function expertAt(stack: ExpertStack, e: number, count: number): PackedExpert {
  const { form, mask, values, scales, rowOffsets } = stack
  const outputs = rowOffsets.length / count
  const maskBytes = mask.length / count
  const offset = (i: number): number => Number(rowOffsets[i])
  const first = offset(e * outputs)
  // Of int4 the length of `values` does not tell where the last expert ends.
  const end = e + 1 < count ? offset((e + 1) * outputs) : offset(e * outputs + outputs - 1) + lastRow(stack)
  const own = scales && scales.slice((e * scales.length) / count, ((e + 1) * scales.length) / count)
  return {
    form,
    mask: mask.slice(e * maskBytes, (e + 1) * maskBytes),
    values:
      form.type === 'int4'
        ? unpackNibbles(values as Uint8Array, 1 + first, 1 + end)
        : (values as Uint16Array | Int8Array).slice(1 + first, 1 + end),
    ...(own ? { scales: own } : {}),
    rowStarts: Uint32Array.from({ length: outputs }, (_, i) => offset(e * outputs + i) - first),
  }
}

/** Kept weights of the last row of all. */
function lastRow({ mask, rowOffsets }: ExpertStack): number {
  return keptCount(mask.subarray(mask.length - mask.length / rowOffsets.length))
}
