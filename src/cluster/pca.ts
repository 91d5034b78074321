import { ShapeError } from '../errors.ts'
import { symmetricEigen } from '../linalg/eigen.ts'
import type { Rng } from '../linalg/rng.ts'
import { createRng } from '../linalg/rng.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import { transpose, zeros } from '../tensor/mat.ts'
import type { Moments } from './moments.ts'

export type PcaOptions = {
  /** Leading components wanted; at most dim. */
  readonly components: number
  /** @default 0 */
  readonly seed?: number
  /** Stop when no wanted eigenvalue moves by more than this fraction of itself. @default 1e-7 */
  readonly tolerance?: number
  /** @default 64 */
  readonly maxIterations?: number
}

export type Pca = {
  /** Orthonormal rows, largest variance first; the entry of largest magnitude of each row is positive. */
  readonly P: Mat // (c, dim)
  readonly mean: Float64Array // (dim)
  /** Variances along the components, with n − 1. */
  readonly variances: Float64Array // (c)
  /** Trace of the covariance. */
  readonly totalVariance: number
  readonly iterations: number
  /** false when maxIterations ended the iteration. */
  readonly converged: boolean
}

/** Extra directions carried along: an error shrinks by λ_{c + extra + 1} / λ_c in every product. */
const OVERSAMPLING = 12

/** Products with the covariance per orthonormalisation, which costs more than they do. */
const POWERS = 3

/** Components for inputs of width dim: dim / 32, from 8 to 1024 (Sparse Expansion, arXiv 2405.15756), less for few rows. */
export function componentCount(dim: number, rows: number): number {
  return Math.max(1, Math.min(Math.max(8, Math.min(1024, Math.floor(dim / 32))), dim, rows - 1))
}

/**
 * Leading principal components, not whitened, by randomised subspace iteration (Halko, Martinsson & Tropp 2011,
 * Algorithm 4.4, with a Rayleigh–Ritz step in every iteration) on the covariance. Throws ShapeError when more than dim
 * components are wanted.
 */
export async function pca(moments: Moments, blas: Blas, options: PcaOptions): Promise<Pca> {
  const { components: c, seed = 0, tolerance = 1e-7, maxIterations = 64 } = options
  const { dim } = moments
  if (c > dim) throw new ShapeError(`Cannot find ${c} components of ${dim} inputs: at most ${dim}`)
  const { S, mean, totalVariance } = covariance(moments)
  const width = Math.min(dim, c + OVERSAMPLING)
  const rng = createRng(seed)
  const Q = zeros(width, dim) // the directions are rows
  for (let i = 0; i < Q.data.length; i++) Q.data[i] = rng.normal()
  orthonormalize(Q, rng)
  let theta = new Float64Array(c).fill(Infinity)
  for (let iterations = 1; ; iterations++) {
    const Y = await multiply(blas, S, Q, dim, width)
    const { values, vectors } = symmetricEigen(gramOf(Q, Y), width)
    const noise = values[0] * 2 ** -26 // of the float32 products: eigenvalues below it never stand still
    const moved = theta.some((old, i) => !(Math.abs(old - values[i]) <= tolerance * Math.abs(values[i]) + noise))
    theta = values.slice(0, c)
    if (!moved || iterations >= maxIterations || width === dim) {
      const P = { rows: c, cols: dim, data: rotate(vectors, Q, c) }
      fixSigns(P)
      const variances = theta.map((value) => Math.max(0, value))
      return { P, mean, variances, totalVariance, iterations, converged: !moved || width === dim }
    }
    // In the order of the Ritz values, so that Gram–Schmidt takes what rounding left of the leading directions out of
    // the others, which the products make smaller and smaller beside them.
    let Z: Mat = { ...Q, data: rotate(vectors, Y, width) }
    for (let power = 1; power < POWERS; power++) Z = await multiply(blas, S, Z, dim, width)
    Q.data.set(Z.data)
    orthonormalize(Q, rng)
  }
}

/** S = (Σ xxᵀ − n δδᵀ) / (n − 1) with δ the mean of the shifted rows; the upper triangle is mirrored. */
export function covariance(moments: Moments): { S: Float32Array; mean: Float64Array; totalVariance: number } {
  const { count, dim, shift, sum, cross } = moments
  const S = new Float32Array(dim * dim)
  const divisor = Math.max(1, count - 1)
  let totalVariance = 0
  for (let i = 0; i < dim; i++) {
    for (let j = i; j < dim; j++) {
      const value = (cross[i * dim + j] - (sum[i] * sum[j]) / count) / divisor
      S[i * dim + j] = value
      S[j * dim + i] = value
    }
    totalVariance += S[i * dim + i]
  }
  const mean = Float64Array.from(sum, (value, j) => shift[j] + value / count)
  return { S, mean, totalVariance }
}

/** Y = Q S (width, dim). Computed as S Qᵀ: rows outnumber columns, so that threads never share out the columns. */
async function multiply(blas: Blas, S: Float32Array, Q: Mat, dim: number, width: number): Promise<Mat> {
  const Y = zeros(dim, width)
  await blas.gemm(dim, width, dim, S, transpose(Q).data, Y.data)
  return transpose(Y)
}

/** Q Yᵀ (width, width) in float64, made symmetric. */
function gramOf(Q: Mat, Y: Mat): Float64Array {
  const { rows: m, cols: d } = Q
  const G = new Float64Array(m * m)
  for (let i = 0; i < m; i++)
    for (let j = i; j < m; j++) {
      let sum = 0
      for (let l = 0; l < d; l++) sum += Q.data[i * d + l] * Y.data[j * d + l] + Q.data[j * d + l] * Y.data[i * d + l]
      G[i * m + j] = sum / 2
      G[j * m + i] = sum / 2
    }
  return G
}

/** The first `count` rows of Vᵀ Q, V (m, m) with the eigenvectors as columns. */
function rotate(V: Float64Array, Q: Mat, count: number): Float32Array {
  const { rows: m, cols: d } = Q
  const out = new Float32Array(count * d)
  const row = new Float64Array(d)
  for (let i = 0; i < count; i++) {
    row.fill(0)
    for (let j = 0; j < m; j++) {
      const v = V[j * m + i]
      for (let l = 0; l < d; l++) row[l] += v * Q.data[j * d + l]
    }
    out.set(row, i * d)
  }
  return out
}

/** Rows of Q become orthonormal: Gram–Schmidt, twice. Rows without a direction of their own are drawn anew. */
function orthonormalize(Q: Mat, rng: Rng): void {
  const { rows, cols: d, data } = Q
  const x = new Float64Array(d)
  for (let i = 0; i < rows; i++) {
    x.set(data.subarray(i * d, (i + 1) * d))
    let length = 0
    // A rank-deficient covariance leaves rows of zeros or noise; i < d directions never fill the space.
    for (let drawn = 0; drawn < 100; drawn++) {
      const before = Math.sqrt(dot(x, x))
      for (let pass = 0; pass < 2; pass++) removeDirections(x, data, i, d)
      length = Math.sqrt(dot(x, x))
      if (length > 1e-6 * before) break
      for (let l = 0; l < d; l++) x[l] = rng.normal()
    }
    for (let l = 0; l < d; l++) data[i * d + l] = x[l] / length
  }
}

/** x −= (q·x) q for the first `count` rows q of Q. */
function removeDirections(x: Float64Array, Q: Float32Array, count: number, d: number): void {
  for (let j = 0; j < count; j++) {
    let projection = 0
    for (let l = 0; l < d; l++) projection += Q[j * d + l] * x[l]
    for (let l = 0; l < d; l++) x[l] -= projection * Q[j * d + l]
  }
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let l = 0; l < x.length; l++) sum += x[l] * y[l]
  return sum
}

/** The first entry of largest magnitude of each row becomes positive: eigenvectors have no sign of their own. */
function fixSigns(P: Mat): void {
  for (let i = 0; i < P.rows; i++) {
    const row = P.data.subarray(i * P.cols, (i + 1) * P.cols)
    let best = 0
    for (let l = 1; l < row.length; l++) if (Math.abs(row[l]) > Math.abs(row[best])) best = l
    if (row[best] < 0) for (let l = 0; l < row.length; l++) row[l] = -row[l]
  }
}
