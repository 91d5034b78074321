import { describe, expect, it } from 'vitest'
import { accumulateMoments } from '../../src/cluster/moments.ts'
import { componentCount, pca } from '../../src/cluster/pca.ts'
import { ShapeError, SolverError } from '../../src/errors.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { readGolden } from './golden.ts'
import { naiveBlas } from './naive.ts'

const golden = readGolden()

function source(X: Float32Array, dim: number): Parameters<typeof accumulateMoments>[0] {
  return { rows: X.length / dim, dim, chunk: (start, end) => X.slice(start * dim, end * dim) }
}

/** Rows of independent normals with standard deviation `deviations[j]` about `mean`. */
function normals(rows: number, deviations: readonly number[], mean: number, seed: number): Float32Array {
  const rng = createRng(seed)
  const dim = deviations.length
  return Float32Array.from({ length: rows * dim }, (_, i) => mean + deviations[i % dim]! * rng.normal())
}

describe('pca()', () => {
  it('pca() finds the golden components, mean and variances', async () => {
    const moments = await accumulateMoments(source(golden.f32('X'), 64), naiveBlas)
    const result = await pca(moments, naiveBlas, { components: 8 })
    const expected = golden.f64('pca_components')
    // Two eigenvalues are 1.7 % apart: an angle of 1e-4 is what float32 covariances and a 1e-6 stop leave there.
    for (let c = 0; c < 8; c++) {
      let dot = 0
      for (let j = 0; j < 64; j++) dot += result.P.data[c * 64 + j]! * expected[c * 64 + j]!
      expect(Math.abs(dot)).toBeGreaterThan(1 - 1e-6)
    }
    golden.f64('pca_mean').forEach((value, j) => expect(result.mean[j]).toBeCloseTo(value, 5))
    golden
      .f64('pca_explained_variance')
      .forEach((value, c) => expect(Math.abs(result.variances[c]! / value - 1)).toBeLessThan(1e-5))
    const ratio = golden.f64('pca_explained_variance_ratio')
    expect(Math.abs(result.variances[0]! / result.totalVariance / ratio[0]! - 1)).toBeLessThan(1e-5)
    expect(result.converged).toBe(true)
  })

  it('pca() gives orthonormal rows whose largest entry is positive', async () => {
    const moments = await accumulateMoments(source(normals(500, [5, 4, 3, 2, 1, 1, 1, 1, 1, 1], 0, 3), 10), naiveBlas)
    const { P } = await pca(moments, naiveBlas, { components: 4, seed: 9 })
    for (let a = 0; a < 4; a++) {
      const row = P.data.subarray(a * 10, (a + 1) * 10)
      const largest = row.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0)
      expect(largest).toBeGreaterThan(0)
      for (let b = 0; b < 4; b++) {
        let dot = 0
        for (let j = 0; j < 10; j++) dot += row[j]! * P.data[b * 10 + j]!
        expect(Math.abs(dot - (a === b ? 1 : 0))).toBeLessThan(1e-6)
      }
    }
  })

  it('pca() keeps small variances beside a mean 10,000 times larger', async () => {
    const moments = await accumulateMoments(source(normals(2000, [2, 0.5], 10_000, 1), 2), naiveBlas)
    const { variances } = await pca(moments, naiveBlas, { components: 2 })
    expect(variances[0]! / 4).toBeCloseTo(1, 0)
    // Sampling error of a variance from 2,000 rows is 3 %; numbers near 10,000 are stored to 0.0005.
    expect(Math.abs(variances[1]! / 0.25 - 1)).toBeLessThan(0.1)
  })

  it('pca() ends on a covariance of low rank and reports no variance beyond it', async () => {
    const rows = Float32Array.from({ length: 300 * 40 }, (_, i) => (i % 40 < 2 ? Math.sin(i * 1.7) : 1))
    const moments = await accumulateMoments(source(rows, 40), naiveBlas)
    const result = await pca(moments, naiveBlas, { components: 8 })
    expect(result.converged).toBe(true)
    for (const value of result.P.data) expect(Number.isFinite(value)).toBe(true)
    expect(result.variances[2]! / result.variances[0]!).toBeLessThan(1e-6)
  })

  it('pca() refuses more components than inputs', async () => {
    const moments = await accumulateMoments(source(normals(20, [1, 1], 0, 1), 2), naiveBlas)
    await expect(pca(moments, naiveBlas, { components: 3 })).rejects.toThrow(ShapeError)
  })
})

describe('accumulateMoments()', () => {
  it('accumulateMoments() equals the sums over every s-th row', async () => {
    const X = normals(103, [1, 2, 3], 5, 7)
    const { count, shift, sum, cross } = await accumulateMoments(source(X, 3), naiveBlas, 40)
    const rows = Array.from({ length: 35 }, (_, i) => i * 3)
    expect(count).toBe(rows.length)
    for (let a = 0; a < 3; a++) {
      const at = (row: number, j: number): number => Math.fround(X[row * 3 + j]! - shift[j]!)
      expect(sum[a]).toBeCloseTo(
        rows.reduce((total, row) => total + at(row, a), 0),
        4,
      )
      for (let b = 0; b < 3; b++) {
        const expected = rows.reduce((total, row) => total + at(row, a) * at(row, b), 0)
        expect(Math.abs(cross[a * 3 + b]! - expected)).toBeLessThan(1e-4 * (1 + Math.abs(expected)))
      }
    }
  })

  it('accumulateMoments() names the input that holds NaN', async () => {
    const X = normals(50, [1, 1, 1], 0, 2)
    X[31] = Number.NaN // row 10, input 1
    await expect(accumulateMoments(source(X, 3), naiveBlas)).rejects.toThrow(SolverError)
    await expect(accumulateMoments(source(X, 3), naiveBlas)).rejects.toThrow('input 1')
  })
})

describe('componentCount()', () => {
  it('componentCount() is dim / 32 between 8 and 1024, never more than the rank', () => {
    expect(componentCount(576, 1000)).toBe(18)
    expect(componentCount(256, 1000)).toBe(8)
    expect(componentCount(64, 1000)).toBe(8)
    expect(componentCount(65_536, 100_000)).toBe(1024)
    expect(componentCount(4, 1000)).toBe(4)
    expect(componentCount(576, 6)).toBe(5)
  })
})
