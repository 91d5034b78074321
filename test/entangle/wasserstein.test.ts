import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { normalDensity, normalQuantile } from '../../src/entangle/normal.ts'
import { standardized, wasserstein1, wassersteinToNormal } from '../../src/entangle/wasserstein.ts'
import { readGolden } from './golden.ts'

const { rows, gauss, toNormal, toGauss } = readGolden()
const sample = fc
  .array(fc.integer({ min: -1000, max: 1000 }), { minLength: 3, maxLength: 60 })
  .map((list) => Float64Array.from(list, (v) => v / 8))
const varied = sample.filter((y) => y.some((v) => v !== y[0]))

function twice(y: Float64Array): Float64Array {
  return y.map((v) => 2 * v)
}

describe('normalQuantile()', () => {
  it('inverts the distribution function of N(0, 1): Python statistics.NormalDist, 16 digits', () => {
    const table: [number, number][] = [
      [1e-300, -37.0470962993612],
      [1e-12, -7.034483825301132],
      [0.001, -3.090232306167813],
      [0.05, -1.6448536269514726],
      [0.074, -1.4466320671589785],
      [0.3, -0.5244005127080407],
      [0.5, 0],
      [0.9999, 3.7190164854557084],
    ]
    for (const [p, x] of table) expect(Math.abs(normalQuantile(p) - x)).toBeLessThanOrEqual(1e-14 * Math.abs(x))
  })

  it('is infinite at 0 and 1, NaN outside', () => {
    expect([0, 1, -0.1, 1.1, NaN].map(normalQuantile)).toEqual([-Infinity, Infinity, NaN, NaN, NaN])
  })

  it('has the reciprocal density as its slope', () => {
    for (const p of [0.01, 0.1, 0.4, 0.8, 0.999]) {
      const slope = (normalQuantile(p + 1e-6) - normalQuantile(p - 1e-6)) / 2e-6
      expect(slope * normalDensity(normalQuantile(p))).toBeCloseTo(1, 6)
    }
  })
})

describe('wassersteinToNormal()', () => {
  it('equals scipy on normal, bimodal, Student, uniform and rectified samples', () => {
    // float64 on both sides; only the order of additions differs.
    rows.forEach((y, i) => expect(Math.abs(wassersteinToNormal(y) - toNormal[i]!)).toBeLessThan(1e-10))
  })

  it('does not change under shift, positive scale and reflection: outputs are standardised', () => {
    fc.assert(
      fc.property(
        varied,
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        fc.integer({ min: -50, max: 50 }),
        (y, a, b) => {
          const wd = wassersteinToNormal(y)
          expect(Math.abs(wassersteinToNormal(y.map((v) => a * v + b)) - wd)).toBeLessThan(1e-8)
          expect(Math.abs(wassersteinToNormal(y.map((v) => -v)) - wd)).toBeLessThan(1e-8)
        },
      ),
    )
  })

  it('is NaN for constant outputs', () => {
    expect(wassersteinToNormal(new Float32Array(10).fill(3))).toBeNaN()
  })
})

describe('wasserstein1()', () => {
  it('equals scipy between standardised outputs and a sample of N(0, 1)', () => {
    rows.forEach((y, i) => expect(Math.abs(wasserstein1(standardized(y), gauss) - toGauss[i]!)).toBeLessThan(1e-10))
  })

  it('is symmetric and 0 from a sample to itself', () => {
    fc.assert(
      fc.property(sample, sample, (a, b) => {
        expect(wasserstein1(a, b)).toBeCloseTo(wasserstein1(b, a), 10)
        expect(wasserstein1(a, a)).toBe(0)
      }),
    )
  })

  it('grows by |c| under translation of one sample by c beyond the other', () => {
    fc.assert(
      fc.property(sample, fc.integer({ min: -200, max: 200 }), (y, c) => {
        expect(
          wasserstein1(
            y,
            y.map((v) => v + c),
          ),
        ).toBeCloseTo(Math.abs(c), 8)
      }),
    )
  })

  it('obeys the triangle inequality and scales with the numbers', () => {
    fc.assert(
      fc.property(sample, sample, sample, (a, b, c) => {
        expect(wasserstein1(a, c)).toBeLessThanOrEqual(wasserstein1(a, b) + wasserstein1(b, c) + 1e-9)
        expect(wasserstein1(twice(a), twice(b))).toBeCloseTo(2 * wasserstein1(a, b), 8)
      }),
    )
  })

  it('equals the mean distance of sorted samples of one size (naive twin)', () => {
    fc.assert(
      fc.property(sample, sample, (a, b) => {
        const n = Math.min(a.length, b.length)
        const [x, y] = [a.slice(0, n).sort(), b.slice(0, n).sort()]
        expect(wasserstein1(x, y)).toBeCloseTo(x.reduce((sum, v, i) => sum + Math.abs(v - y[i]!), 0) / n, 8)
      }),
    )
  })

  it('refuses empty samples', () => {
    expect(() => wasserstein1(new Float64Array(0), gauss)).toThrow('both need at least one')
  })
})
