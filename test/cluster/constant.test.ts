import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { carryBias, constantDirection } from '../../src/cluster/constant.ts'
import { route } from '../../src/cluster/route.ts'
import { fitRouter } from '../../src/cluster/router.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { matOf } from '../../src/tensor/mat.ts'
import { naiveBlas } from './naive.ts'

const D = 7

/** Rows about a mean, correlated and of very different scales. */
function rowsAbout(mean: number, rows: number, seed: number): Float32Array {
  const { normal } = createRng(seed)
  const mix = Float64Array.from({ length: D * D }, () => normal())
  const X = new Float32Array(rows * D)
  for (let i = 0; i < rows; i++) {
    const z = Float64Array.from({ length: D }, () => normal())
    for (let j = 0; j < D; j++) {
      let sum = mean * (j + 1)
      for (let l = 0; l < D; l++) sum += mix[j * D + l]! * z[l]! * 0.4 ** l
      X[i * D + j] = sum
    }
  }
  return X
}

function momentsOf(X: Float32Array): { S: Float32Array; mean: Float64Array } {
  const n = X.length / D
  const mean = new Float64Array(D)
  X.forEach((x, i) => (mean[i % D]! += x / n))
  const S = new Float64Array(D * D)
  for (let i = 0; i < n; i++)
    for (let a = 0; a < D; a++)
      for (let b = 0; b < D; b++) S[a * D + b]! += ((X[i * D + a]! - mean[a]!) * (X[i * D + b]! - mean[b]!)) / n
  return { S: Float32Array.from(S), mean }
}

/** E (v·x − 1)². */
function misfit(X: Float32Array, v: ArrayLike<number>): number {
  const n = X.length / D
  let sum = 0
  for (let i = 0; i < n; i++) {
    let t = -1
    for (let j = 0; j < D; j++) t += v[j]! * X[i * D + j]!
    sum += (t * t) / n
  }
  return sum
}

describe('constantDirection()', () => {
  it('constantDirection() cannot be improved by a step in any direction, and says what it reaches', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999 }), fc.double({ min: 0.2, max: 3, noNaN: true }), (seed, mean) => {
        const X = rowsAbout(mean, 200, seed)
        const { S, mean: mu } = momentsOf(X)
        const { v, constancy } = constantDirection(S, mu)
        const least = misfit(X, v)
        expect(1 - least).toBeCloseTo(constancy, 4) // float32 covariance
        for (let j = 0; j < D; j++)
          for (const step of [-0.05, 0.05])
            expect(
              misfit(
                X,
                v.map((value, i) => value + (i === j ? step : 0)),
              ),
            ).toBeGreaterThan(least - 1e-4)
      }),
      { numRuns: 50 },
    )
  })

  it('constantDirection() finds an input that never moves', () => {
    const X = rowsAbout(0.5, 300, 3)
    for (let i = 0; i < 300; i++) X[i * D + 4] = 2
    const { S, mean } = momentsOf(X)
    const { v, constancy } = constantDirection(S, mean)
    expect(constancy).toBeGreaterThan(1 - 1e-4)
    expect(Math.abs(v[4]! - 0.5)).toBeLessThan(0.01) // the search stops when the rest matters less
    expect(misfit(X, v)).toBeLessThan(1e-4)
  })

  it('constantDirection() gives nothing where inputs have no mean', () => {
    const { v, constancy } = constantDirection(momentsOf(rowsAbout(0, 10, 1)).S, new Float64Array(D))
    expect([...v]).toEqual(Array.from({ length: D }, () => 0))
    expect(constancy).toBe(0)
  })
})

describe('carryBias()', () => {
  it('carryBias() routes as the bias did where a direction is constant', async () => {
    const X = rowsAbout(0.5, 400, 5)
    for (let i = 0; i < 400; i++) X[i * D] = 1
    const { normal } = createRng(9)
    const weight = matOf(5, D, Float32Array.from({ length: 5 * D }, normal))
    const biased = { weight, bias: Float32Array.from({ length: 5 }, () => 3 * normal()) }
    const direction = { v: Float64Array.from({ length: D }, (_, j) => Number(j === 0)), constancy: 1 }
    const free = carryBias(biased, direction)
    expect([...free.bias]).toEqual([0, 0, 0, 0, 0])
    const rows = matOf(400, D, X)
    const [a, b] = [await route(biased, rows, naiveBlas), await route(free, rows, naiveBlas)]
    const moved = a.filter((label, i) => label !== b[i]).length
    expect(moved).toBeLessThanOrEqual(1) // sums of float32 in another order: a tie may fall the other way
    expect(new Set(a).size).toBeGreaterThan(1)
  })
})

describe('fitRouter() without bias', () => {
  const X = rowsAbout(2, 600, 11)
  const options = {
    rows: 600,
    dim: D,
    chunk: (start: number, end: number) => X.slice(start * D, end * D),
    experts: 4,
    blas: naiveBlas,
  }

  it('fitRouter() labels by the router without bias, nearly as with one', async () => {
    const [plain, free] = [await fitRouter(options), await fitRouter({ ...options, bias: false })]
    expect(plain.constancy).toBeUndefined()
    expect(plain.router.bias.some((b) => b !== 0)).toBe(true)
    expect([...free.router.bias]).toEqual([0, 0, 0, 0])
    expect([...free.labels]).toEqual([...(await route(free.router, matOf(600, D, X), naiveBlas))])
    expect(free.constancy).toBeGreaterThan(0.9)
    const same = free.labels.filter((label, i) => label === plain.labels[i]).length
    expect(same / 600).toBeGreaterThan(0.8)
    expect([...free.counts].reduce((a, b) => a + b)).toBe(600)
  })

  it('fitRouter() without bias gives the same bytes twice', async () => {
    const [a, b] = [await fitRouter({ ...options, bias: false }), await fitRouter({ ...options, bias: false })]
    expect(a.router.weight.data).toEqual(b.router.weight.data)
  })
})
