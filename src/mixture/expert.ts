import { SolverError } from '../errors.ts'
import { fromF16, toF16 } from '../tensor/half.ts'

/** One pruned matrix of one expert as it is stored: what runs is exactly what unpackExpert() gives. */
export type PackedExpert = {
  /** (outputs, ⌈inputs / 8⌉), bit 0 first, 1 = kept; padding bits are 0. */
  readonly mask: Uint8Array
  /** f16 bits of the kept weights, row by row. */
  readonly values: Uint16Array
  /** Kept weights before each row (outputs). */
  readonly rowStarts: Uint32Array
}

const F16_MAX = 65504
/** Set bits of every byte, and their positions, lowest first. */
const COUNT = Uint8Array.from(
  { length: 256 },
  (_, byte) => [0, 1, 2, 3, 4, 5, 6, 7].filter((j) => (byte >> j) & 1).length,
)
const POSITION = positions()

/**
 * Rounds the kept weights of W (outputs, inputs) to f16 (nearest even) and packs them under their bitmask. A kept weight
 * may round to zero (`underflows` counts them); one beyond ±65504 is a SolverError, `name` says where.
 */
export function packExpert(
  W: Float32Array,
  mask: Uint8Array,
  outputs: number,
  inputs: number,
  name: string,
): PackedExpert & { readonly underflows: number } {
  const rowBytes = (inputs + 7) >> 3
  let kept = 0
  for (let b = 0; b < outputs * rowBytes; b++) kept += COUNT[mask[b]!]!
  const values = new Float32Array(kept)
  const rowStarts = new Uint32Array(outputs)
  let at = 0
  for (let i = 0; i < outputs; i++) {
    rowStarts[i] = at
    for (let b = 0; b < rowBytes; b++) {
      const byte = mask[i * rowBytes + b]!
      const w = i * inputs + b * 8
      for (let p = byte * 8, end = p + COUNT[byte]!; p < end; p++) values[at++] = W[w + POSITION[p]!]!
    }
  }
  let underflows = 0
  for (let i = 0; i < kept; i++) {
    const w = Math.abs(values[i]!)
    if (!(w <= F16_MAX))
      throw new SolverError(`Cannot store a weight of ${name}: ${values[i]} does not fit f16 (at most ${F16_MAX})`)
    if (w <= 2 ** -25 && w !== 0) underflows++
  }
  return { mask, values: toF16(values), rowStarts, underflows }
}

/** W (outputs, inputs) with zeros where the mask has none; `out` is overwritten when given. */
export function unpackExpert(packed: PackedExpert, outputs: number, inputs: number, out?: Float32Array): Float32Array {
  const W = out ?? new Float32Array(outputs * inputs)
  if (out) W.fill(0)
  const rowBytes = (inputs + 7) >> 3
  const values = fromF16(packed.values)
  let at = 0
  for (let i = 0; i < outputs; i++)
    for (let b = 0; b < rowBytes; b++) {
      const byte = packed.mask[i * rowBytes + b]!
      const w = i * inputs + b * 8
      for (let p = byte * 8, end = p + COUNT[byte]!; p < end; p++) W[w + POSITION[p]!] = values[at++]!
    }
  return W
}

function positions(): Uint8Array {
  const table = new Uint8Array(256 * 8)
  for (let byte = 0; byte < 256; byte++)
    for (let j = 0, n = 0; j < 8; j++) if ((byte >> j) & 1) table[byte * 8 + n++] = j
  return table
}
