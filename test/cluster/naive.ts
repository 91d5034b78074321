import type { Blas } from '../../src/tensor/blas.ts'

/** The products as three loops in float64: the twin of src/runtime/blas.ts. */
export const naiveBlas: Blas = {
  async gemm(m, n, k, A, B, C, { transA = false, transB = false, alpha = 1, beta = 0 } = {}) {
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let sum = 0
        for (let l = 0; l < k; l++) sum += A[transA ? l * m + i : i * k + l] * B[transB ? j * k + l : l * n + j]
        C[i * n + j] = alpha * sum + (beta === 0 ? 0 : beta * C[i * n + j])
      }
  },
}

/** Index of the nearest centroid (k, dim) of x, the lowest on a tie, and how far the second nearest is behind. */
export function nearestCentroid(
  x: ArrayLike<number>,
  centroids: ArrayLike<number>,
  k: number,
): { label: number; square: number; gap: number } {
  const dim = x.length
  let label = -1
  let square = Infinity
  let second = Infinity
  for (let c = 0; c < k; c++) {
    let sum = 0
    for (let j = 0; j < dim; j++) sum += (x[j]! - centroids[c * dim + j]!) ** 2
    if (sum < square) {
      second = square
      square = sum
      label = c
    } else if (sum < second) second = sum
  }
  return { label, square, gap: second - square }
}
