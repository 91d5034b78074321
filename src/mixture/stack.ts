import type { PackedExpert } from './expert.ts'

/** All experts of one matrix as the artifact stores them (docs/formats.md). */
export type ExpertStack = {
  /** (experts, outputs, ⌈inputs / 8⌉) */
  readonly mask: Uint8Array
  /** f16 bits, (1 + kept weights of all experts): values[0] = 0 is what the portable decoder reads for pruned weights. */
  readonly values: Uint16Array
  /** (experts, outputs): kept weights before the row, over the whole stack. */
  readonly rowOffsets: BigInt64Array
}

/** Joins the experts of one matrix. */
export function stackExperts(experts: readonly PackedExpert[]): ExpertStack {
  const sum = (length: (expert: PackedExpert) => number): number => experts.reduce((n, e) => n + length(e), 0)
  const mask = new Uint8Array(sum((e) => e.mask.length))
  const values = new Uint16Array(1 + sum((e) => e.values.length))
  const rowOffsets = new BigInt64Array(sum((e) => e.rowStarts.length))
  let maskAt = 0
  let valueAt = 0
  let rowAt = 0
  for (const expert of experts) {
    mask.set(expert.mask, maskAt)
    values.set(expert.values, 1 + valueAt)
    for (const start of expert.rowStarts) rowOffsets[rowAt++] = BigInt(valueAt + start)
    maskAt += expert.mask.length
    valueAt += expert.values.length
  }
  return { mask, values, rowOffsets }
}

/** One expert of a stack of `count`, the inverse of stackExperts(); copies, so that one expert can be sent to a worker by itself. */
export function expertAt(stack: ExpertStack, e: number, count: number): PackedExpert {
  const outputs = stack.rowOffsets.length / count
  const maskBytes = stack.mask.length / count
  const offset = (i: number): number => Number(stack.rowOffsets[i] ?? stack.values.length - 1)
  const first = offset(e * outputs)
  return {
    mask: stack.mask.slice(e * maskBytes, (e + 1) * maskBytes),
    values: stack.values.slice(1 + first, 1 + offset((e + 1) * outputs)),
    rowStarts: Uint32Array.from({ length: outputs }, (_, i) => offset(e * outputs + i) - first),
  }
}
