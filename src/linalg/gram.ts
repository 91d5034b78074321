import type { Blas } from '../tensor/blas.ts'

/** S (cols, cols) += XᵀX for X (rows, cols), row-major. */
export async function accumulateGram(
  blas: Blas,
  X: Float32Array,
  rows: number,
  cols: number,
  S: Float32Array,
): Promise<void> {
  await blas.gemm(cols, cols, rows, X, X, S, { transA: true, beta: 1 })
}
