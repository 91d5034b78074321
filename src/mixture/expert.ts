import type { Grid } from '../prune/grid.ts'
import { gridLimit, scaleGroups } from '../prune/grid.ts'
import { fromHalves, halvesOf } from '../prune/halves.ts'
import { fromF16 } from '../tensor/half.ts'
import { BIT_POSITIONS, BYTE_POPULATION, keptCount, rowStartsOf } from './bitmask.ts'
import type { ValueForm } from './values.ts'

/** One pruned matrix of one expert as it is stored: what runs is exactly what unpackExpert() gives. */
export type PackedExpert = {
  /** (outputs, ⌈inputs / 8⌉), bit 0 first, 1 = kept; padding bits are 0. */
  readonly mask: Uint8Array
  /** Kept weights before each row (outputs). */
  readonly rowStarts: Uint32Array
  /** How the kept weights are stored. */
  readonly form: ValueForm
  /** The kept weights, row by row: their f16 or bf16 bits, or the whole numbers of the grid, one each, also of int4. */
  readonly values: Uint16Array | Int8Array
  /** f16 bits (outputs, groups), of int8 and int4 only. */
  readonly scales?: Uint16Array
}

/**
 * Rounds the kept weights of W (outputs, inputs) to f16 or bf16 (nearest even) and packs them under their bitmask. A
 * kept weight may round to zero (`underflows` counts them); one beyond the range is a SolverError, `name` says where.
 */
export function packExpert(
  W: Float32Array,
  mask: Uint8Array,
  outputs: number,
  inputs: number,
  name: string,
  type: 'f16' | 'bf16' = 'f16',
): PackedExpert & { readonly underflows: number } {
  const rowStarts = rowStartsOf(mask, outputs)
  const kept = gatherKept(W, mask, outputs, inputs)
  const { bits, underflows } = halvesOf(kept, type, name)
  return { mask, rowStarts, form: { type }, values: bits, underflows }
}

/**
 * Packs kept weights that lie on a grid, but for the last bits of f32; `scales` (outputs, groups) are f16 bits. Rounding
 * belongs to the grid, so a kept weight of 0 is nothing to report.
 */
export function packOnGrid(
  W: Float32Array,
  mask: Uint8Array,
  outputs: number,
  inputs: number,
  { grid, scales }: { readonly grid: Grid; readonly scales: Uint16Array },
): PackedExpert {
  const inverse = fromF16(scales).map((scale) => (scale > 0 ? 1 / scale : 0))
  const groups = scaleGroups(grid, inputs)
  const limit = gridLimit(grid)
  const values = new Int8Array(keptCount(mask))
  const rowBytes = (inputs + 7) >> 3
  let at = 0
  for (let i = 0; i < outputs; i++)
    for (let b = 0; b < rowBytes; b++) {
      const byte = mask[i * rowBytes + b]!
      const w = i * inputs + b * 8
      // Groups are multiples of 32 inputs: a byte of the mask lies in one.
      const s = inverse[i * groups + (grid.groupSize === 0 ? 0 : Math.floor((b * 8) / grid.groupSize))]!
      for (let p = byte * 8, end = p + BYTE_POPULATION[byte]!; p < end; p++) {
        const q = Math.round(W[w + BIT_POSITIONS[p]!]! * s)
        values[at++] = q > limit ? limit : q < -limit ? -limit : q
      }
    }
  const type = grid.bits === 8 ? 'int8' : 'int4'
  return { mask, rowStarts: rowStartsOf(mask, outputs), form: { type, groupSize: grid.groupSize }, values, scales }
}

/** W (outputs, inputs) with zeros where the mask has none; `out` is overwritten when given. */
export function unpackExpert(packed: PackedExpert, outputs: number, inputs: number, out?: Float32Array): Float32Array {
  const W = out ?? new Float32Array(outputs * inputs)
  if (out) W.fill(0)
  const values = widened(packed)
  const rowBytes = (inputs + 7) >> 3
  let at = 0
  for (let i = 0; i < outputs; i++)
    for (let b = 0; b < rowBytes; b++) {
      const byte = packed.mask[i * rowBytes + b]!
      const w = i * inputs + b * 8
      for (let p = byte * 8, end = p + BYTE_POPULATION[byte]!; p < end; p++) W[w + BIT_POSITIONS[p]!] = values[at++]!
    }
  if (packed.scales) applyScales(W, fromF16(packed.scales), outputs, inputs, packed.form)
  return W
}

function widened({ form, values }: PackedExpert): Float32Array {
  return 'groupSize' in form ? Float32Array.from(values) : fromHalves(values as Uint16Array, form.type)
}

/** W = scale · q, exact in f32: 11 bits times at most 8. */
function applyScales(W: Float32Array, scales: Float32Array, outputs: number, inputs: number, form: ValueForm): void {
  const width = ('groupSize' in form && form.groupSize) || inputs
  for (let i = 0, s = 0; i < outputs; i++)
    for (let begin = 0; begin < inputs; begin += width, s++)
      for (let at = i * inputs + begin, end = i * inputs + Math.min(begin + width, inputs); at < end; at++)
        W[at]! *= scales[s]!
}

function gatherKept(W: Float32Array, mask: Uint8Array, outputs: number, inputs: number): Float32Array {
  const kept = new Float32Array(keptCount(mask))
  const rowBytes = (inputs + 7) >> 3
  let at = 0
  for (let i = 0; i < outputs; i++)
    for (let b = 0; b < rowBytes; b++) {
      const byte = mask[i * rowBytes + b]!
      const w = i * inputs + b * 8
      for (let p = byte * 8, end = p + BYTE_POPULATION[byte]!; p < end; p++) kept[at++] = W[w + BIT_POSITIONS[p]!]!
    }
  return kept
}
