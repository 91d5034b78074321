import { ShapeError, SolverError } from '../errors.ts'
import type { RawTensor } from '../tensor/dtype.ts'
import { toF16 } from '../tensor/half.ts'
import type { Mat } from '../tensor/mat.ts'
import type { LowRank } from './low-rank.ts'
import type { QuantizedRows } from './quantized-rows.ts'

/** How a matrix is predicted: factors of a rank (activation-aware), or its rows rounded to whole numbers. */
export type HirePredictor =
  | { readonly kind: 'lr'; readonly rank: number }
  | { readonly kind: 'q'; readonly bits: 8 | 4; readonly groupSize: number }

/** What HiRE does in one FF layer. Counts are neurons. */
export type HireLayer = {
  readonly layer: number
  readonly predictor: HirePredictor
  /** The k that count, and the k' that are computed. */
  readonly k: number
  readonly kPrime: number
  /** Adjacent neurons that are selected together. */
  readonly group: number
  /** Neurons that are computed for every token, among the k'. */
  readonly always: number
  /** Share of the k largest |silu(gate x) · up x| among the k' predicted, mean over tokens of the choosing text. */
  readonly recall: number
}

/** What HiRE does in the softmax: k' rows of the head are exact, the logits of the others are the predicted ones. */
export type HireSoftmax = {
  readonly predictor: HirePredictor
  readonly k: number
  readonly kPrime: number
  readonly recall: number
}

/** Tensors of a predictor by the last part of their name. */
export type StoredPredictor = Readonly<Record<string, RawTensor>>

/**
 * Factors of W (n, d) as they are stored: `U` (n, r) and `V` (r, d), f16. Each pair of a column and a row gets equal
 * norms, since those of the factors of a whitened matrix differ by more than f16 holds. Throws SolverError when a number
 * still does not fit.
 */
export function storeFactors({ U, V }: LowRank): StoredPredictor {
  const [n, r, d] = [U.rows, U.cols, V.cols]
  const [left, right] = [U.data.slice(), V.data.slice()]
  for (let i = 0; i < r; i++) {
    let [uu, vv] = [0, 0]
    for (let row = 0; row < n; row++) uu += left[row * r + i] ** 2
    for (let col = 0; col < d; col++) vv += right[i * d + col] ** 2
    const balance = uu > 0 && vv > 0 ? Math.sqrt(Math.sqrt(vv / n) / Math.sqrt(uu / d)) : 1
    for (let row = 0; row < n; row++) left[row * r + i] *= balance
    for (let col = 0; col < d; col++) right[i * d + col] /= balance
  }
  const stored = { U: halves(left, [n, r]), V: halves(right, [r, d]) }
  if ([...left, ...right].some((value) => !(Math.abs(value) < 65_504)))
    throw new SolverError(
      `Cannot store factors of (${n}, ${d}) at rank ${r} as f16: a number is too large: lower --rank`,
    )
  return stored
}

/**
 * Rounded rows as com.microsoft.MatMulNBits reads them: `numbers` (n, G, B) u8 and `scales` (n · G) f16, G = ⌈d /
 * groupSize⌉ groups of B bytes. Numbers are 8 or 128 more than they stand for; two 4-bit numbers a byte, the low half
 * first; inputs from d on are 0. Throws ShapeError for scales of whole rows, which that operator does not know.
 */
export function storeRows({ bits, groupSize, rows, cols, numbers, scales }: QuantizedRows): StoredPredictor {
  if (![32, 64, 128].includes(groupSize))
    throw new ShapeError(`Cannot store rows in groups of ${groupSize} inputs: wanted 32, 64 or 128`)
  const groups = Math.ceil(cols / groupSize)
  const perByte = 8 / bits
  const zero = bits === 4 ? 8 : 128
  const rowBytes = (groups * groupSize) / perByte
  const bytes = new Uint8Array(rows * rowBytes).fill(bits === 4 ? 0x88 : 128)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) {
      const number = numbers[i * cols + j] + zero
      const at = i * rowBytes + Math.floor(j / perByte)
      if (bits === 8) bytes[at] = number
      else bytes[at] = j % 2 === 0 ? (bytes[at] & 0xf0) | number : (bytes[at] & 0x0f) | (number << 4)
    }
  return {
    numbers: { dtype: 'U8', shape: [rows, groups, groupSize / perByte], bytes },
    scales: { dtype: 'F16', shape: [rows * groups], bytes: new Uint8Array(scales.slice().buffer) },
  }
}

/** Bytes that a predictor of a matrix (n, d) reads for one token, as stored. */
export function predictorBytes(predictor: HirePredictor, n: number, d: number): number {
  if (predictor.kind === 'lr') return 2 * predictor.rank * (n + d)
  const groups = predictor.groupSize === 0 ? 1 : Math.ceil(d / predictor.groupSize)
  return n * ((d * predictor.bits) / 8 + 2 * groups)
}

/** 'low rank 64', 'int4 rows, groups of 32'. */
export function predictorName(predictor: HirePredictor): string {
  if (predictor.kind === 'lr') return `low rank ${predictor.rank}`
  const groups = predictor.groupSize === 0 ? '' : `, groups of ${predictor.groupSize}`
  return `int${predictor.bits} rows${groups}`
}

function halves(data: Mat['data'], shape: readonly number[]): RawTensor {
  return { dtype: 'F16', shape, bytes: new Uint8Array(toF16(data).buffer) }
}
