import { ShapeError } from '../errors.ts'
import { fromF16, toF16 } from '../tensor/half.ts'
import type { Mat } from '../tensor/mat.ts'

/** HiRE-Q: rows of a matrix as whole numbers with f16 scales, symmetric, nearest. */
export type QuantizedRows = {
  readonly bits: 8 | 4
  /** Inputs that share a scale; 0: a whole row. */
  readonly groupSize: number
  readonly rows: number
  readonly cols: number
  /** −127 … 127 or −7 … 7, (rows, cols). */
  readonly numbers: Int8Array
  /** f16 bits, (rows, G) with G = ⌈cols / groupSize⌉, 1 for whole rows. */
  readonly scales: Uint16Array
}

/**
 * Rounds the rows of W (n, d). The scale of a group is its largest magnitude over 127 or 7, rounded to f16, as the
 * reader will see it. Throws ShapeError for another groupSize than 0 or a multiple of 32.
 */
export function quantizeRows(W: Mat, bits: 8 | 4, groupSize: number): QuantizedRows {
  if (!Number.isInteger(groupSize) || groupSize < 0 || groupSize % 32 !== 0)
    throw new ShapeError(`Cannot quantise in groups of ${groupSize} inputs: wanted 0 or a multiple of 32`)
  const { rows, cols, data } = W
  const width = groupSize === 0 ? cols : groupSize
  const groups = Math.ceil(cols / width)
  const top = bits === 8 ? 127 : 7
  const largest = new Float32Array(rows * groups)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) {
      const g = i * groups + Math.floor(j / width)
      largest[g] = Math.max(largest[g], Math.abs(data[i * cols + j]))
    }
  const scales = toF16(largest.map((value) => value / top))
  const steps = fromF16(scales)
  const numbers = new Int8Array(rows * cols)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) {
      const step = steps[i * groups + Math.floor(j / width)]
      if (step > 0) numbers[i * cols + j] = Math.max(-top, Math.min(top, Math.round(data[i * cols + j] / step)))
    }
  return { bits, groupSize, rows, cols, numbers, scales }
}

/** The matrix that the numbers stand for. */
export function dequantizeRows({ rows, cols, groupSize, numbers, scales }: QuantizedRows): Mat {
  const width = groupSize === 0 ? cols : groupSize
  const groups = Math.ceil(cols / width)
  const steps = fromF16(scales)
  const data = new Float32Array(rows * cols)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++)
      data[i * cols + j] = numbers[i * cols + j] * steps[i * groups + Math.floor(j / width)]
  return { rows, cols, data }
}

/** Bytes of numbers and scales as they are stored: two 4-bit numbers a byte. */
export function quantizedBytes({ bits, numbers, scales }: QuantizedRows): number {
  return Math.ceil((numbers.length * bits) / 8) + scales.byteLength
}
