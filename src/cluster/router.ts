import { FormatError, ShapeError, UsageError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import { assertShape, matOf, zeros } from '../tensor/mat.ts'
import { carryBias, constantDirection } from './constant.ts'
import { kmeans } from './kmeans.ts'
import type { RowSource } from './moments.ts'
import type { Passes } from './passes.ts'
import { passesHere } from './passes.ts'
import type { Pca } from './pca.ts'
import { componentCount, covariance, pca } from './pca.ts'
import { createSpace } from './points.ts'

/** The expert of a token x is argmax_c (weight x + bias)_c; ties go to the lowest index. */
export type Router = {
  readonly weight: Mat // (k, d)
  readonly bias: Float32Array // (k)
}

/** Most experts of one router: labels are bytes. */
export const MAX_EXPERTS = 256

/** The inputs of one FF layer, and how to cluster them. */
export type FitRouterOptions = RowSource & {
  /** Clusters, 1 to 256. */
  readonly experts: number
  readonly blas: Blas
  /** @default 0 */
  readonly seed?: number
  /**
   * false: scores without a bias, which the inputs carry instead, along the direction in which they are nearly constant.
   * @default true
   */
  readonly bias?: boolean
  /** Name in error messages, e.g. 'layer 3'. @default 'the inputs' */
  readonly name?: string
  /** Who passes over the rows. @default this thread, with `blas` */
  readonly passes?: Passes
}

export type RouterFit = {
  readonly router: Router
  /** Expert of every row, by the folded float32 router: what runs at run time. */
  readonly labels: Uint8Array // (rows)
  readonly counts: Int32Array // (experts)
  /** Σ squared distance of the projected rows to their centroids. */
  readonly inertia: number
  readonly components: number
  /** Share of the variance that the components hold, [0, 1]. */
  readonly explained: number
  /** Iterations of k-means over all rows, and whether they ended by themselves. */
  readonly iterations: number
  readonly converged: boolean
  /** How nearly constant the direction that carries the biases is, 1: as good as a bias; only without one. */
  readonly constancy?: number
  /** Times that an empty cluster restarted from the farthest points. */
  readonly reseeded: number
}

/**
 * Fits the router of Sparse Expansion (arXiv 2405.15756, section 4): PCA, k-means in PCA space, both folded into one linear
 * map. Three passes over the rows (moments, projection, labels), never a copy of all of them.
 *
 * Throws UsageError for experts outside 1 to 256, FormatError for fewer rows or distinct rows than experts, SolverError on
 * NaN or Inf.
 */
export async function fitRouter(options: FitRouterOptions): Promise<RouterFit> {
  const { rows, dim, experts, blas, seed = 0, bias = true, name = 'the inputs' } = options
  if (!Number.isInteger(experts) || experts < 1 || experts > MAX_EXPERTS)
    throw new UsageError(
      `Cannot cluster ${name} into ${experts} experts: wanted a whole number from 1 to ${MAX_EXPERTS}`,
    )
  if (experts > rows)
    throw new FormatError(
      `Cannot cluster ${name} into ${experts} experts: only ${rows} tokens: use more text, or at most ${rows} experts`,
    )
  if (experts === 1) return oneExpert(options)
  const passes = options.passes ?? passesHere(options, blas)
  const moments = await passes.moments()
  const basis = await pca(moments, blas, { components: componentCount(dim, rows), seed })
  const space = createSpace(rows, basis.P.rows, experts)
  await passes.project(basis, space.points)
  const result = kmeans(space, { seed })
  const folded = foldRouter(basis.P, basis.mean, matOf(experts, basis.P.rows, result.centroids))
  const constant = bias ? undefined : constantDirection(covariance(moments).S, basis.mean)
  const router = constant ? carryBias(folded, constant) : folded
  const labels = await passes.route(router)
  const counts = new Int32Array(experts)
  for (const label of labels) counts[label]++
  return {
    router,
    labels,
    counts,
    inertia: result.inertia,
    components: basis.P.rows,
    explained: share(basis),
    iterations: result.iterations,
    converged: result.converged && basis.converged,
    reseeded: result.reseeded,
    ...(constant ? { constancy: constant.constancy } : {}),
  }
}

function oneExpert({ rows, dim }: RowSource): RouterFit {
  return {
    router: { weight: zeros(1, dim), bias: new Float32Array(1) },
    labels: new Uint8Array(rows),
    counts: Int32Array.of(rows),
    inertia: 0,
    components: 0,
    explained: 0,
    iterations: 0,
    converged: true,
    reseeded: 0,
  }
}

/**
 * Folds projection and nearest centroid into one linear map, exactly:
 * argmin_c ‖P (x − μ) − C_c‖² = argmax_c (C_c P) x + b_c, b_c = −‖C_c‖²/2 − C_c P μ.
 *
 * P (c, d) · mean (d) · centroids C (k, c). Computed in float64, stored in float32. Throws ShapeError when they do not fit.
 */
export function foldRouter(P: Mat, mean: Float64Array | Float32Array, centroids: Mat): Router {
  const d = P.cols
  assertShape(centroids, centroids.rows, P.rows, 'router centroids')
  if (mean.length !== d)
    throw new ShapeError(`Cannot fold a router: the mean has ${mean.length} numbers, expected ${d}`)
  const weight = zeros(centroids.rows, d)
  const bias = new Float32Array(centroids.rows)
  const row = new Float64Array(d)
  for (let k = 0; k < centroids.rows; k++) {
    row.fill(0)
    let square = 0
    for (let c = 0; c < P.rows; c++) {
      const value = centroids.data[k * P.rows + c]
      square += value * value
      for (let j = 0; j < d; j++) row[j] += value * P.data[c * d + j]
    }
    let projected = 0
    for (let j = 0; j < d; j++) projected += row[j] * mean[j]
    weight.data.set(row, k * d)
    bias[k] = -square / 2 - projected
  }
  return { weight, bias }
}

function share({ variances, totalVariance }: Pca): number {
  let sum = 0
  for (const variance of variances) sum += variance
  return totalVariance > 0 ? Math.min(1, sum / totalVariance) : 1
}
