import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { kmeans } from '../../src/cluster/kmeans.ts'
import { createStep, lloyd } from '../../src/cluster/lloyd.ts'
import type { Space } from '../../src/cluster/points.ts'
import { createSpace } from '../../src/cluster/points.ts'
import { FormatError, SolverError } from '../../src/errors.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { readGolden } from './golden.ts'
import { nearestCentroid } from './naive.ts'

function fill(points: ArrayLike<number>, dim: number, k: number): Space {
  const space = createSpace(points.length / dim, dim, k)
  const { stride, data, rows } = space.points
  for (let i = 0; i < rows; i++) for (let j = 0; j < dim; j++) data[i * stride + j] = points[i * dim + j]!
  return space
}

function normals(count: number, seed: number): Float32Array {
  const rng = createRng(seed)
  return Float32Array.from({ length: count }, () => rng.normal())
}

function distinct(centroids: Float32Array, k: number): number {
  const dim = centroids.length / k
  return new Set(Array.from({ length: k }, (_, c) => centroids.slice(c * dim, (c + 1) * dim).join(','))).size
}

describe('lloydStep()', () => {
  it('lloydStep() equals its naive twin for any shape', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 65 }),
        fc.integer({ min: 1, max: 23 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 1000 }),
        (rows, dim, k, seed) => {
          const X = normals(rows * dim, seed)
          const C = normals(k * dim, seed + 1)
          const space = fill(X, dim, k)
          const { points } = space
          const { inertia, sums, counts, changed } = createStep(space, points)(C)
          const twin = { inertia: 0, counts: new Int32Array(k), sums: new Float64Array(k * dim), changed: 0 }
          for (let i = 0; i < rows; i++) {
            const x = X.subarray(i * dim, (i + 1) * dim)
            const { label, square, gap } = nearestCentroid(x, C, k)
            // A near tie may fall either way in float32; its distance is the same.
            const chosen = gap < 1e-4 ? points.labels[i]! : label
            expect(points.labels[i]).toBe(chosen)
            twin.inertia += square
            twin.counts[chosen]!++
            if (chosen !== 0) twin.changed++ // labels begin as 0
            for (let j = 0; j < dim; j++) twin.sums[chosen * dim + j]! += x[j]!
          }
          expect(changed).toBe(twin.changed)
          expect([...counts]).toEqual([...twin.counts])
          expect(Math.abs(inertia - twin.inertia)).toBeLessThan(1e-4 * (1 + twin.inertia))
          for (let c = 0; c < k; c++)
            for (let j = 0; j < dim; j++) expect(sums[c * points.stride + j]).toBeCloseTo(twin.sums[c * dim + j]!, 9) // both sum in float64
        },
      ),
      { numRuns: 60 },
    )
  })

  it('lloydStep() gives ties to the lowest index', () => {
    const space = fill([0, 0, 0], 1, 40)
    const C = new Float32Array(40).map((_, c) => (c === 7 || c === 8 || c === 30 ? (c === 8 ? -1 : 1) : 5))
    createStep(space, space.points)(C)
    expect([...space.points.labels]).toEqual([7, 7, 7])
  })
})

describe('lloyd()', () => {
  const options = { maxIterations: 100, tolerance: 0 }

  it('lloyd() ends where every point has its nearest centroid and every centroid is the mean of its points', () => {
    const dim = 5
    const k = 6
    const X = normals(400 * dim, 4)
    const space = fill(X, dim, k)
    const { points } = space
    const result = lloyd(space, points, createStep(space, points), X.slice(0, k * dim), options)
    expect(result.converged).toBe(true)
    const means = new Float64Array(k * dim)
    const counts = new Int32Array(k)
    for (let i = 0; i < points.rows; i++) {
      const x = X.subarray(i * dim, (i + 1) * dim)
      const { label, gap } = nearestCentroid(x, result.centroids, k)
      if (gap > 1e-5) expect(points.labels[i]).toBe(label)
      counts[points.labels[i]!]!++
      for (let j = 0; j < dim; j++) means[points.labels[i]! * dim + j]! += x[j]!
    }
    for (let c = 0; c < k; c++)
      for (let j = 0; j < dim; j++)
        expect(result.centroids[c * dim + j]).toBeCloseTo(means[c * dim + j]! / counts[c]!, 6)
  })

  it('lloyd() restarts empty clusters from the farthest points and counts them', () => {
    // The third start is so far away that nothing is near it; 140 is the point farthest from its mean, 113.7.
    const X = [0, 0.1, 0.2, 100, 101, 140]
    const space = fill(X, 1, 3)
    const { points } = space
    const start = Float32Array.of(0.1, 100, -1e6)
    const result = lloyd(space, points, createStep(space, points), start, options)
    expect(result.reseeded).toBe(1)
    expect([...result.centroids].map((c) => Math.round(c * 10) / 10).sort((a, b) => a - b)).toEqual([0.1, 100.5, 140])
  })

  it('lloyd() says when it stopped before it settled', () => {
    const X = normals(300, 8)
    const space = fill(X, 1, 5)
    const { points } = space
    const result = lloyd(space, points, createStep(space, points), X.slice(0, 5), { maxIterations: 1, tolerance: 0 })
    expect(result).toMatchObject({ converged: false, iterations: 1 })
  })

  it('lloyd() refuses NaN', () => {
    const space = fill([1, 2, Number.NaN], 1, 2)
    const { points } = space
    expect(() => lloyd(space, points, createStep(space, points), Float32Array.of(1, 2), options)).toThrow(SolverError)
  })
})

describe('kmeans()', () => {
  it('kmeans() reaches the golden inertia and labels, up to the order of the clusters', () => {
    const golden = readGolden()
    const X = golden.f32('X')
    const P = golden.f64('pca_components')
    const mean = golden.f64('pca_mean')
    const Z = new Float32Array(2000 * 8)
    for (let i = 0; i < 2000; i++)
      for (let c = 0; c < 8; c++) {
        let sum = 0
        for (let j = 0; j < 64; j++) sum += (X[i * 64 + j]! - mean[j]!) * P[c * 64 + j]!
        Z[i * 8 + c] = sum
      }
    const space = fill(Z, 8, 6)
    const result = kmeans(space)
    expect(Math.abs(result.inertia / golden.f64('inertia')[0]! - 1)).toBeLessThan(1e-4)
    const labels = golden.i64('labels')
    const pairs = new Set(labels.map((label, i) => `${label} ${space.points.labels[i]}`))
    expect(pairs.size).toBe(6)
    expect([...result.counts].sort((a, b) => a - b)).toEqual([250, 269, 290, 323, 326, 542])
    expect(result.converged).toBe(true)
  })

  it('kmeans() gives the same bytes for the same seed', () => {
    const X = normals(3000 * 6, 5)
    const run = (seed: number): string => {
      const space = fill(X, 6, 8)
      return `${kmeans(space, { seed }).centroids.join()} ${space.points.labels.join()}`
    }
    expect(run(3)).toBe(run(3))
    expect(run(3)).not.toBe(run(4))
  })

  it('kmeans() gives k distinct centroids, each with points, whenever there are k distinct points', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 4, maxLength: 60 }),
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 0, max: 50 }),
        (values, k, seed) => {
          const space = fill(values, 1, k)
          if (new Set(values).size < k) {
            expect(() => kmeans(space, { seed })).toThrow(FormatError)
            return
          }
          const { centroids, counts } = kmeans(space, { seed })
          expect(distinct(centroids, k)).toBe(k)
          expect(Math.min(...counts)).toBeGreaterThan(0)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('kmeans() finds rare points that a sample misses', () => {
    const X = new Float32Array(40_000)
    X[39_998] = 5
    X[39_999] = 9
    const result = kmeans(fill(X, 1, 3))
    expect([...result.centroids].sort((a, b) => a - b)).toEqual([0, 5, 9])
    expect([...result.counts].sort((a, b) => a - b)).toEqual([1, 1, 39_998])
  })

  it('kmeans() names how many distinct points there are when they are fewer than the clusters', () => {
    expect(() => kmeans(fill([1, 1, 2, 2, 2, 1], 1, 3))).toThrow('only 2 of their vectors are distinct')
  })

  it('kmeans() names the token that holds Infinity', () => {
    const space = fill([1, 2, 3, 4, Number.POSITIVE_INFINITY, 5], 2, 2)
    expect(() => kmeans(space)).toThrow('token 2 holds Infinity')
  })
})
