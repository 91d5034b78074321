import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FitRouterOptions } from '../../src/cluster/router.ts'
import { route, routeRows } from '../../src/cluster/route.ts'
import { fitRouter, foldRouter } from '../../src/cluster/router.ts'
import { FormatError, ShapeError, SolverError, UsageError } from '../../src/errors.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import { matOf } from '../../src/tensor/mat.ts'
import { readGolden } from './golden.ts'
import { naiveBlas, nearestCentroid } from './naive.ts'

function normals(count: number, seed: number): Float32Array {
  const rng = createRng(seed)
  return Float32Array.from({ length: count }, () => rng.normal())
}

/** Rows about `k` random centres, `noise` away from them. */
function blobs(rows: number, dim: number, k: number, noise: number, seed: number): Float32Array {
  const rng = createRng(seed)
  const centres = Float32Array.from({ length: k * dim }, () => 5 * rng.normal())
  const X = new Float32Array(rows * dim)
  for (let i = 0; i < rows; i++) {
    const at = rng.integer(k) * dim
    for (let j = 0; j < dim; j++) X[i * dim + j] = centres[at + j]! + noise * rng.normal()
  }
  return X
}

function options(X: Float32Array, dim: number, experts: number, seed = 0): FitRouterOptions {
  const chunk = (start: number, end: number): Float32Array => X.slice(start * dim, end * dim)
  return { rows: X.length / dim, dim, chunk, experts, seed, blas: naiveBlas }
}

function mustNotRead(): never {
  throw new Error('read')
}

/** P (x − mean) in float64. */
function unfolded(x: Float32Array, P: Float32Array, mean: Float64Array): Float64Array {
  const d = mean.length
  return Float64Array.from({ length: P.length / d }, (_, c) => {
    let sum = 0
    for (let j = 0; j < d; j++) sum += P[c * d + j]! * (x[j]! - mean[j]!)
    return sum
  })
}

describe('foldRouter()', () => {
  it('foldRouter() equals the golden weights and biases', () => {
    const golden = readGolden()
    const P = matOf(8, 64, Float32Array.from(golden.f64('pca_components')))
    const centroids = matOf(6, 8, Float32Array.from(golden.f64('centroids')))
    const { weight, bias } = foldRouter(P, golden.f64('pca_mean'), centroids)
    // P and centroids are rounded to float32 first: 8 products of relative error 1e-7.
    const scale = Math.max(...golden.f64('router_weight').map(Math.abs))
    golden
      .f64('router_weight')
      .forEach((value, i) => expect(Math.abs(weight.data[i]! - value)).toBeLessThan(1e-6 * scale))
    golden.f64('router_bias').forEach((value, i) => expect(Math.abs(bias[i]! / value - 1)).toBeLessThan(1e-5))
  })

  it('foldRouter() sends each row to its nearest centroid, for any projection', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 0, max: 999 }),
        async (c, extra, k, seed) => {
          const d = c + extra
          const P = normals(c * d, seed)
          const mean = Float64Array.from(normals(d, seed + 1))
          const C = normals(k * c, seed + 2)
          const X = normals(30 * d, seed + 3)
          const router = foldRouter(matOf(c, d, P), mean, matOf(k, c, C))
          const labels = await route(router, matOf(30, d, X), naiveBlas)
          for (let i = 0; i < 30; i++) {
            const { label, square, gap } = nearestCentroid(unfolded(X.subarray(i * d, (i + 1) * d), P, mean), C, k)
            // Scores of the folded form are rounded to float32: nearer ties than that may fall either way.
            if (gap > 1e-4 * (1 + square)) expect(labels[i]).toBe(label)
          }
        },
      ),
      { numRuns: 50 },
    )
  })

  it('foldRouter() refuses shapes that do not fit', () => {
    const P = matOf(2, 3, new Float32Array(6))
    expect(() => foldRouter(P, new Float64Array(3), matOf(4, 3, new Float32Array(12)))).toThrow(ShapeError)
    expect(() => foldRouter(P, new Float64Array(2), matOf(4, 2, new Float32Array(8)))).toThrow(ShapeError)
  })
})

describe('route()', () => {
  it('route() gives ties to the lowest index', async () => {
    const router = { weight: matOf(3, 1, Float32Array.of(0, 1, 1)), bias: Float32Array.of(0, 0, 0) }
    expect([...(await route(router, matOf(3, 1, Float32Array.of(2, 0, -1)), naiveBlas))]).toEqual([1, 0, 0])
  })

  it('route() refuses inputs of another width', () => {
    const router = { weight: matOf(2, 3, new Float32Array(6)), bias: new Float32Array(2) }
    expect(() => route(router, matOf(1, 2, new Float32Array(2)), naiveBlas)).toThrow(ShapeError)
  })

  it('routeRows() gives every chunk the labels of route()', async () => {
    const X = blobs(9000, 4, 5, 1, 2)
    const { router } = await fitRouter(options(X, 4, 5))
    const labels = await routeRows(router, 9000, (start, end) => X.slice(start * 4, end * 4), naiveBlas)
    expect(labels).toEqual(await route(router, matOf(9000, 4, X), naiveBlas))
  })
})

describe('fitRouter()', () => {
  it('fitRouter() finds the golden clusters', async () => {
    const golden = readGolden()
    const fit = await fitRouter(options(golden.f32('X'), 64, 6))
    const labels = golden.i64('labels')
    expect(new Set(labels.map((label, i) => `${label} ${fit.labels[i]}`)).size).toBe(6)
    expect(Math.abs(fit.inertia / golden.f64('inertia')[0]! - 1)).toBeLessThan(1e-4)
    const explained = golden.f64('pca_explained_variance_ratio').reduce((sum, value) => sum + value)
    expect(Math.abs(fit.explained / explained - 1)).toBeLessThan(1e-5)
    expect(fit).toMatchObject({ components: 8, reseeded: 0, converged: true })
    expect([...fit.counts].sort((a, b) => a - b)).toEqual([250, 269, 290, 323, 326, 542])
  })

  it('fitRouter() labels and counts are those of the folded float32 router', async () => {
    const X = blobs(5000, 12, 7, 2, 3)
    const fit = await fitRouter(options(X, 12, 7))
    expect(fit.labels).toEqual(await route(fit.router, matOf(5000, 12, X), naiveBlas))
    const counts = new Int32Array(7)
    for (const label of fit.labels) counts[label]!++
    expect(fit.counts).toEqual(counts)
  })

  it('fitRouter() gives the same bytes for the same seed, with 1 and with 2 threads', async () => {
    const X = blobs(6000, 96, 5, 3, 4)
    const bytes = async (threads: number, seed: number): Promise<string> => {
      const { router, labels } = await fitRouter({ ...options(X, 96, 8, seed), blas: await createBlas(threads) })
      return [router.weight.data, router.bias, labels].map((part) => part.join()).join(' ')
    }
    const first = await bytes(1, 5)
    expect(await bytes(1, 5)).toBe(first)
    expect(await bytes(2, 5)).toBe(first)
    expect(await bytes(1, 6)).not.toBe(first)
  })

  it('fitRouter() with the products of onnxruntime agrees with the naive ones', async () => {
    const X = blobs(5000, 64, 6, 0.5, 8)
    const naive = await fitRouter(options(X, 64, 6))
    const real = await fitRouter({ ...options(X, 64, 6), blas: await createBlas(1) })
    // Blobs ten standard deviations apart leave no row near a border.
    expect(real.labels).toEqual(naive.labels)
    expect(Math.abs(real.inertia / naive.inertia - 1)).toBeLessThan(1e-5)
  })

  it('fitRouter() keeps the views that chunk() gives it unchanged', async () => {
    const X = blobs(5000, 8, 3, 1, 6)
    const before = X.slice()
    await fitRouter({ ...options(X, 8, 3), chunk: (start, end) => X.subarray(start * 8, end * 8) })
    expect(X).toEqual(before)
  })

  it('fitRouter() of one expert sends every token to it and reads nothing', async () => {
    const fit = await fitRouter({ rows: 10, dim: 3, chunk: mustNotRead, experts: 1, blas: naiveBlas })
    expect([...fit.labels, ...fit.counts]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10])
    expect([fit.router.weight.rows, fit.router.weight.cols]).toEqual([1, 3])
  })

  it('fitRouter() puts a few far tokens into a cluster of their own', async () => {
    const X = blobs(4000, 16, 1, 1, 9)
    for (let i = 0; i < 12; i++) X[i * 300 * 16] += 500 // like the first-position sinks of a language model
    const fit = await fitRouter(options(X, 16, 4))
    const sink = fit.labels[0]!
    expect(fit.counts[sink]).toBe(12)
  })

  it('fitRouter() refuses more experts than tokens or distinct tokens, and numbers of experts that cannot be', async () => {
    const X = blobs(5, 4, 2, 1, 1)
    await expect(fitRouter(options(X, 4, 6))).rejects.toThrow(FormatError)
    await expect(fitRouter(options(X, 4, 6))).rejects.toThrow('only 5 tokens: use more text, or at most 5 experts')
    await expect(fitRouter(options(new Float32Array(400).fill(1), 4, 2))).rejects.toThrow('only 1 of their vectors')
    for (const experts of [0, 257, 1.5]) await expect(fitRouter(options(X, 4, experts))).rejects.toThrow(UsageError)
  })

  it('fitRouter() refuses NaN wherever it is', async () => {
    const X = blobs(40_000, 2, 3, 1, 1)
    X[2 * 39_999] = Number.NaN // not among the rows of the covariance: those are even
    await expect(fitRouter(options(X, 2, 2))).rejects.toThrow(SolverError)
  })
})
