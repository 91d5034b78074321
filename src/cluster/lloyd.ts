import { SolverError } from '../errors.ts'
import type { Points, Space } from './points.ts'

export type LloydOptions = {
  readonly maxIterations: number
  /** Stop when the inertia falls by less than this fraction of itself. */
  readonly tolerance: number
}

export type LloydResult = {
  /** Means of the last assignment (k, dim). */
  readonly centroids: Float32Array
  /** Σ ‖x − c‖² of the last assignment, to the centroids it was made with. */
  readonly inertia: number
  readonly iterations: number
  /** Clusters that were empty and restarted from the farthest points, over all iterations. */
  readonly reseeded: number
  /** false when maxIterations ended the run. */
  readonly converged: boolean
}

/** One assignment and accumulation over points: see lloydStep in src/kernels/assembly/lloyd.ts. */
export type Step = (centroids: Float32Array) => {
  readonly changed: number
  readonly inertia: number
  readonly sums: Float64Array // (k, stride)
  readonly counts: Int32Array // (k)
}

/**
 * Lloyd's iterations from `start` (k, dim) until no label changes, the inertia stands still, or maxIterations. Ties go to
 * the lowest index. Empty clusters restart from the points farthest from their means, so with at least k distinct
 * points every centroid is distinct and has a point. Labels are left in points.labels.
 *
 * Throws SolverError on NaN or Inf among the points, and when centroids stay equal.
 */
export function lloyd(
  space: Space,
  points: Points,
  step: Step,
  start: Float32Array,
  options: LloydOptions,
): LloydResult {
  let centroids: Float32Array = Float32Array.from(start)
  let reseeded = 0
  let before = Infinity
  for (let iterations = 1; ; iterations++) {
    const { changed, inertia, sums, counts } = step(centroids)
    if (!Number.isFinite(inertia))
      throw new SolverError(
        `Cannot cluster ${points.rows} tokens: a distance is ${inertia}: check the model for NaN or Inf`,
      )
    centroids = means(sums, counts, points, centroids)
    const empty = restartEmpty(points, counts, centroids)
    reseeded += empty
    const settled = changed === 0 || before - inertia <= options.tolerance * inertia
    const last = iterations >= options.maxIterations
    if (last || (settled && empty === 0)) {
      const duplicate = duplicateCentroid(centroids, space.k, points.dim)
      if (duplicate === undefined)
        return { centroids, inertia, iterations, reseeded, converged: settled && empty === 0 }
      if (last)
        throw new SolverError(
          `Cannot cluster ${points.rows} tokens into ${space.k}: centroids ${duplicate.join(' and ')} are still equal ` +
            `after ${iterations} iterations: use fewer experts`,
        )
    }
    before = inertia
  }
}

/** Prepares the buffers of the kernel once for many iterations over `points`. */
export function createStep(space: Space, points: Points): Step {
  const { wasm, k } = space
  const { rows, dim, stride } = points
  const kPad = Math.ceil(k / 16) * 16
  const [T, B, C, S, N, I] = [stride * kPad, kPad, k * stride, 2 * k * stride, k, 2].map((n) => wasm.allocate(n))
  const transposed = wasm.view(T, stride * kPad)
  const bias = wasm.view(B, kPad)
  const padded = wasm.view(C, k * stride)
  const sums = new Float64Array(wasm.memory.buffer, S, k * stride)
  const counts = new Int32Array(wasm.memory.buffer, N, k)
  const inertia = new Float64Array(wasm.memory.buffer, I, 1)
  return (centroids) => {
    transposed.fill(0)
    padded.fill(0)
    bias.fill(-Infinity)
    for (let c = 0; c < k; c++) {
      let square = 0
      for (let j = 0; j < dim; j++) {
        const value = centroids[c * dim + j]
        transposed[j * kPad + c] = value
        padded[c * stride + j] = value
        square += value * value
      }
      bias[c] = -square / 2
    }
    sums.fill(0)
    counts.fill(0)
    inertia[0] = 0
    const changed = wasm.exports.lloydStep(
      rows,
      dim,
      stride,
      kPad,
      points.address,
      T,
      B,
      C,
      points.labelsAddress,
      S,
      N,
      I,
    )
    return { changed, inertia: inertia[0], sums, counts }
  }
}

function means(sums: Float64Array, counts: Int32Array, points: Points, old: Float32Array): Float32Array {
  const { dim, stride } = points
  const out = Float32Array.from(old)
  for (let c = 0; c < counts.length; c++)
    if (counts[c] > 0) for (let j = 0; j < dim; j++) out[c * dim + j] = sums[c * stride + j] / counts[c]
  return out
}

/** Moves the centroid of every empty cluster onto one of the points farthest from their own means; returns how many. */
function restartEmpty(points: Points, counts: Int32Array, centroids: Float32Array): number {
  const empty: number[] = []
  for (let c = 0; c < counts.length; c++) if (counts[c] === 0) empty.push(c)
  if (empty.length === 0) return 0
  const { rows, dim, stride, data, labels } = points
  const distances = new Float64Array(rows)
  for (let i = 0; i < rows; i++) {
    let square = 0
    for (let j = 0; j < dim; j++) square += (data[i * stride + j] - centroids[labels[i] * dim + j]) ** 2
    distances[i] = square
  }
  const taken: number[] = []
  for (const c of empty) {
    const i = farthest(points, distances, taken)
    if (i < 0) break // fewer distinct points than clusters: duplicateCentroid() reports it
    taken.push(i)
    for (let j = 0; j < dim; j++) centroids[c * dim + j] = data[i * stride + j]
  }
  return empty.length
}

/** The lowest index of the largest positive distance among points that differ from those taken; −1 when there is none. */
function farthest(points: Points, distances: Float64Array, taken: readonly number[]): number {
  let best = -1
  for (let i = 0; i < points.rows; i++)
    if (distances[i] > (best < 0 ? 0 : distances[best]) && !taken.some((t) => samePoint(points, i, t))) best = i
  return best
}

/** Whether points p and q are equal in every coordinate. */
export function samePoint(points: Points, p: number, q: number): boolean {
  const { dim, stride, data } = points
  for (let j = 0; j < dim; j++) if (data[p * stride + j] !== data[q * stride + j]) return false
  return true
}

function duplicateCentroid(centroids: Float32Array, k: number, dim: number): [number, number] | undefined {
  for (let p = 0; p < k; p++)
    for (let q = p + 1; q < k; q++) {
      let j = 0
      while (j < dim && centroids[p * dim + j] === centroids[q * dim + j]) j++
      if (j === dim) return [p, q]
    }
  return undefined
}
