import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  descending,
  linearFit,
  quantile,
  quantiles,
  relativeImprovement,
  topIndices,
  weightedMean,
} from '../../src/entangle/ranking.ts'

const numbers = fc.array(fc.integer({ min: -99, max: 99 }), { minLength: 1, maxLength: 80 })

describe('quantile()', () => {
  it("is numpy's default: linear between neighbours", () => {
    expect(quantiles([4, 1, 3, 2], [0, 0.25, 0.5, 0.97, 1])).toEqual([1, 1.75, 2.5, 3.91, 4])
    expect(quantile([NaN, 5], 0.5)).toBe(5)
    expect(quantile([], 0.5)).toBeNaN()
  })
})

describe('topIndices()', () => {
  it('are exactly those strictly above the quantile, largest first', () => {
    fc.assert(
      fc.property(numbers, fc.double({ min: 0.01, max: 0.5, noNaN: true }), (values, top) => {
        const limit = quantile(values, 1 - top)
        const chosen = topIndices(values, top)
        expect(new Set(chosen)).toEqual(new Set(values.flatMap((v, i) => (v > limit ? [i] : []))))
        expect(chosen.every((i, at) => at === 0 || values[chosen[at - 1]!]! >= values[i]!)).toBe(true)
      }),
    )
  })

  it('are 3 % of a hundred distinct numbers', () => {
    expect(
      topIndices(
        Array.from({ length: 100 }, (_, i) => (i * 37) % 100),
        0.03,
      ),
    ).toEqual([27, 54, 81])
  })
})

describe('descending()', () => {
  it('breaks ties by index and leaves NaN out', () => {
    expect(descending([1, NaN, 2, 1])).toEqual([2, 0, 3])
  })
})

describe('linearFit()', () => {
  it('finds a line exactly, with R² 1', () => {
    const fit = linearFit([0, 1, 2, NaN], [1, 3, 5, 7])
    expect(fit).toEqual({ slope: 2, intercept: 1, r2: 1, points: 3 })
  })

  it('has the R² of the squared correlation', () => {
    // numpy: np.corrcoef([1,2,3,4],[2,1,4,3])[0,1]**2 = 0.36
    expect(linearFit([1, 2, 3, 4], [2, 1, 4, 3]).r2).toBeCloseTo(0.36, 12)
  })
})

describe('weightedMean()', () => {
  it('leaves out what is not finite, with its weight', () => {
    expect(weightedMean([1, NaN, 3], [1, 100, 3])).toBe(2.5)
    expect(weightedMean([NaN], [1])).toBeNaN()
  })
})

describe('relativeImprovement()', () => {
  it('is the ratio of errors, 1 where nothing changed', () => {
    expect([...relativeImprovement([2, 0, 1], [1, 0, 0])]).toEqual([2, 1, Infinity])
  })
})
