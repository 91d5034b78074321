import { ShapeError } from '../errors.ts'
import { symmetricEigen } from '../linalg/eigen.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import { assertShape, zeros } from '../tensor/mat.ts'

/** A ≈ W as U V. The factors of a smaller rank are the first columns and rows: see truncated(). */
export type LowRank = {
  readonly U: Mat // (n, r)
  readonly V: Mat // (r, d)
  /**
   * Σ over all d directions of E‖W x‖² along it, largest first: what is beyond the rank is the error E‖(W − U V) x‖².
   */
  readonly energies: Float64Array // (d)
}

/**
 * Directions that the inputs hardly have: eigenvalues of C are lifted to this share of the largest before they divide.
 */
const FLOOR = 1e-8

/** C = Q E Qᵀ: Q (d, d) with eigenvectors as columns, and the square roots of E. */
export type InputRoot = { readonly Q: Float64Array; readonly roots: Float64Array }

/**
 * The root of the second moments C (d, d) of some inputs: one for all matrices that read them. Throws ShapeError when
 * C is not (d, d), SolverError when it holds NaN or Inf.
 */
export function inputRoot(C: Float32Array, d: number): InputRoot {
  assertShape({ rows: d, cols: d, data: C }, d, d, 'the second moments of the inputs')
  const { values, vectors } = symmetricEigen(Float64Array.from(C), d)
  const least = Math.max(values[0] * FLOOR, Number.MIN_VALUE)
  return { Q: vectors, roots: values.map((value) => Math.sqrt(Math.max(value, least))) }
}

/**
 * The U V of rank r that makes E‖(W − U V) x‖² smallest for inputs with second moments C = E[x xᵀ] (HiRE-LR, arXiv
 * 2402.09360, made activation-aware): the truncated SVD of W C^½ times C^−½. Without C: the plain SVD of W.
 * With C = Q E Qᵀ it needs eigenvectors of E^½ Qᵀ WᵀW Q E^½ only, not the SVD of the tall W C^½; entries (i, j) of
 * that matrix are scaled by √(e_i e_j) in float64, so that rounding of WᵀW stays relative to each of them.
 * Throws ShapeError when r > d or the root is of other inputs, SolverError when W holds NaN or Inf.
 */
export async function lowRank(blas: Blas, W: Mat, C: InputRoot | undefined, rank: number): Promise<LowRank> {
  const { rows: n, cols: d } = W
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= d))
    throw new ShapeError(`Cannot factor (${n}, ${d}) at rank ${rank}: wanted 1 to ${d}`)
  if (C && C.roots.length !== d)
    throw new ShapeError(`Cannot weight (${n}, ${d}) by second moments of ${C.roots.length} inputs: wanted ${d}`)
  const gram = new Float32Array(d * d)
  await blas.gemm(d, d, n, W.data, W.data, gram, { transA: true })
  const { Q, roots } = C ?? { Q: identity(d), roots: new Float64Array(d).fill(1) }
  const inner = product(transposed(Q, d), product(Float64Array.from(gram), Q, d), d)
  for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) inner[i * d + j] *= roots[i] * roots[j]
  const { values, vectors: P } = symmetricEigen(inner, d)
  // W · (Q E^½ P) and (Pᵀ E^−½ Qᵀ)
  const right = new Float32Array(d * rank)
  const V = zeros(rank, d)
  const column = new Float64Array(d)
  for (let r = 0; r < rank; r++) {
    for (let i = 0; i < d; i++) column[i] = P[i * d + r] * roots[i]
    for (let l = 0; l < d; l++) right[l * rank + r] = dotRow(Q, l, column, d)
    for (let i = 0; i < d; i++) column[i] = P[i * d + r] / roots[i]
    for (let l = 0; l < d; l++) V.data[r * d + l] = dotRow(Q, l, column, d)
  }
  const U = zeros(n, rank)
  await blas.gemm(n, rank, d, W.data, right, U.data)
  return { U, V, energies: values.map((value) => Math.max(0, value)) }
}

/** The factors of a smaller rank. Throws ShapeError when they have less. */
export function truncated({ U, V, energies }: LowRank, rank: number): LowRank {
  if (!(rank >= 1 && rank <= V.rows))
    throw new ShapeError(`Cannot cut factors of rank ${V.rows} to ${rank}: wanted 1 to ${V.rows}`)
  const narrow = zeros(U.rows, rank)
  for (let i = 0; i < U.rows; i++) narrow.data.set(U.data.subarray(i * U.cols, i * U.cols + rank), i * rank)
  return { U: narrow, V: { rows: rank, cols: V.cols, data: V.data.slice(0, rank * V.cols) }, energies }
}

/** The smallest rank that leaves at most `share` of E‖W x‖² outside. */
export function rankForError(energies: Float64Array, share: number): number {
  let left = energies.reduce((sum, energy) => sum + energy, 0)
  const allowed = left * share
  let rank = 0
  while (rank < energies.length && left > allowed) left -= energies[rank++]
  return Math.max(1, rank)
}

function identity(d: number): Float64Array {
  const I = new Float64Array(d * d)
  for (let i = 0; i < d; i++) I[i * d + i] = 1
  return I
}

/** A B of square matrices in float64: the symmetric products of this file must not lose small directions. */
function product(A: Float64Array, B: Float64Array, d: number): Float64Array {
  const C = new Float64Array(d * d)
  for (let i = 0; i < d; i++)
    for (let k = 0; k < d; k++) {
      const a = A[i * d + k]
      for (let j = 0, c = i * d, b = k * d; j < d; j++, c++, b++) C[c] += a * B[b]
    }
  return C
}

function transposed(A: Float64Array, d: number): Float64Array {
  const T = new Float64Array(d * d)
  for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) T[j * d + i] = A[i * d + j]
  return T
}

function dotRow(A: Float64Array, row: number, x: Float64Array, d: number): number {
  let sum = 0
  for (let i = 0, at = row * d; i < d; i++, at++) sum += A[at] * x[i]
  return sum
}
