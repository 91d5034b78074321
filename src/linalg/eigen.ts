import { EigenvalueDecomposition, Matrix } from 'ml-matrix'
import { SolverError } from '../errors.ts'

/** Eigenvalues, largest first, and unit eigenvectors: vector j is vectors[i · n + j] over i. */
export type Eigen = { readonly values: Float64Array; readonly vectors: Float64Array }

/**
 * All eigenpairs of a symmetric matrix A (n, n), row-major, in float64; only its upper triangle is read. For small n:
 * the cost is about 10 n³. Throws SolverError when A holds NaN or Inf.
 */
export function symmetricEigen(A: Float64Array, n: number): Eigen {
  const M = new Matrix(n, n)
  for (let i = 0; i < n; i++)
    for (let j = i; j < n; j++) {
      const a = A[i * n + j]
      if (!Number.isFinite(a)) throw new SolverError(`Cannot find eigenvalues: entry (${i}, ${j}) is ${a}`)
      M.set(i, j, a)
      M.set(j, i, a)
    }
  const evd = new EigenvalueDecomposition(M, { assumeSymmetric: true })
  const order = evd.realEigenvalues.map((_, j) => j)
  order.sort((p, q) => evd.realEigenvalues[q] - evd.realEigenvalues[p] || p - q)
  const values = Float64Array.from(order, (j) => evd.realEigenvalues[j])
  const vectors = new Float64Array(n * n)
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) vectors[i * n + j] = evd.eigenvectorMatrix.get(i, order[j])
  return { values, vectors }
}
