import { describe, expect, it } from 'vitest'
import { coarseHistogram, histogramDistance } from '../../src/entangle/distance.ts'
import { addCounts } from '../../src/entangle/histogram.ts'
import { standardized, wasserstein1, wassersteinToNormal } from '../../src/entangle/wasserstein.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { readGolden } from './golden.ts'
import { guess, streamed } from './stream.ts'

const { rows, toNormal } = readGolden()

function of(draw: (i: number) => number): Float32Array {
  return Float32Array.from({ length: 30_000 }, (_, i) => draw(i))
}

/** Samples of odd shapes: an atom, two far clusters, an outlier that makes the whole variance. */
function oddSamples(): Float32Array[] {
  const rng = createRng(5)
  return [
    of((i) => (i % 2 === 0 ? 1 : 1 + 0.001 * rng.normal())),
    of((i) => (i % 3 === 0 ? 1000 : -2) + 0.01 * rng.normal()),
    of((i) => (i === 29_999 ? 5000 : rng.normal())),
    of(() => Math.exp(2 * rng.normal())),
    of(() => rng.normal() ** 5),
  ]
}

describe('histogramToNormal()', () => {
  it('is within 1e-3 of scipy on the golden samples, wherever the first 1000 outputs put the grid', () => {
    rows.forEach((y, i) => {
      const { toNormal: streamedWd } = streamed(y, guess(y, 1000))
      expect(Math.abs(streamedWd.distance - toNormal[i]!)).toBeLessThan(1e-3)
      expect(streamedWd.bound).toBeLessThan(1e-3)
    })
  })

  it('is within its own bound, and 1e-3, of the exact form on atoms, clusters, outliers and heavy tails', () => {
    for (const y of oddSamples()) {
      const first = streamed(y, guess(y, 2000))
      // What the pipeline does when the bound is too wide: count again where the outputs turned out to be.
      const { mean, variance } = first.moments
      const best = first.toNormal.bound > 1e-3 ? streamed(y, { centre: mean, scale: Math.sqrt(variance) }) : first
      const exact = wassersteinToNormal(y)
      // 2e-4: the exact form compares with n quantiles, the streamed one with the whole normal.
      expect(Math.abs(best.toNormal.distance - exact)).toBeLessThan(Math.min(1e-3, best.toNormal.bound + 2e-4))
    }
  })

  it('is NaN for constant outputs', () => {
    expect(streamed(new Float32Array(50).fill(2), { centre: 2, scale: 1 }).toNormal.distance).toBeNaN()
  })
})

describe('momentsOf()', () => {
  it('equals the moments of the numbers themselves', () => {
    for (const y of rows) {
      const { moments } = streamed(y, { centre: y[0]! + 1, scale: 3 })
      const z = standardized(y)
      const kurtosis = z.reduce((sum, v) => sum + v ** 4, 0) / z.length
      const mean = y.reduce((sum, v) => sum + v, 0) / y.length
      const variance = y.reduce((sum, v) => sum + (v - mean) ** 2, 0) / y.length
      expect(Math.abs(moments.mean - mean)).toBeLessThan(1e-9)
      expect(Math.abs(moments.variance / variance - 1)).toBeLessThan(1e-9)
      expect(Math.abs(moments.kurtosis / kurtosis - 1)).toBeLessThan(1e-7)
    }
  })
})

describe('histogramDistance()', () => {
  it('is within 1e-3 standard deviations of the exact distance of two samples', () => {
    const [a, b] = [rows[1]!, rows[3]!]
    const place = guess(a, 2000)
    const [ha, hb] = [streamed(a, place), streamed(b, place)]
    const deviation = Math.sqrt(ha.moments.variance)
    const distance = histogramDistance(
      { counts: ha.counts, n: a.length },
      { counts: hb.counts, n: b.length },
      0,
      place,
      deviation,
    )
    expect(Math.abs(distance - wasserstein1(a, b) / deviation)).toBeLessThan(1e-3)
  })

  it('is 0 from a sample to itself', () => {
    const { counts } = streamed(rows[2]!, guess(rows[2]!, 500))
    const side = { counts, n: rows[2]!.length }
    expect(histogramDistance(side, side, 0, { centre: 0, scale: 1 }, 1)).toBe(0)
  })
})

describe('addCounts()', () => {
  it('makes one histogram of two halves, equal to that of the whole', () => {
    const [y] = rows
    const place = guess(y!, 500)
    const half = y!.length / 2
    const [a, b] = [streamed(y!.subarray(0, half), place), streamed(y!.subarray(half), place)]
    addCounts(a.counts, b.counts, 0, 1)
    expect(a.counts).toEqual(streamed(y!, place, 777).counts)
  })
})

describe('coarseHistogram()', () => {
  it('gives shares that sum to what lies within the limit', () => {
    const y = rows[0]!
    const place = guess(y, 500)
    const { counts, moments } = streamed(y, place)
    const shares = coarseHistogram(counts, 0, y.length, place, moments, { intervals: 48, limit: 4 })
    const inside = standardized(y).filter((z) => Math.abs(z) < 4).length / y.length
    expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(inside, 3)
    expect(shares.indexOf(Math.max(...shares))).toBeGreaterThan(18)
    expect(shares.indexOf(Math.max(...shares))).toBeLessThan(30)
  })
})
