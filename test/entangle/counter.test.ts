import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createCounter } from '../../src/entangle/counter.ts'
import { BINS, EDGES, TAIL_BINS } from '../../src/entangle/grid.ts'
import { POWERS } from '../../src/entangle/histogram.ts'
import { createRng } from '../../src/linalg/rng.ts'

/** The bin whose edges hold z, found by looking at all edges; the end bins hold what lies beyond. */
function naiveBin(z: number): number {
  if (z < EDGES[0]!) return 0
  // Bins of the negative tail mirror those of the positive one: they hold their upper edge, not their lower.
  return EDGES.findLastIndex((edge, b) => b < BINS && (b < TAIL_BINS ? edge < z : edge <= z))
}

/** Counts of some outputs in one call. */
function counted(y: Float32Array, centre = 0, scale = 1): { counts: Uint32Array; sums: Float64Array } {
  const counts = new Uint32Array(BINS)
  const sums = new Float64Array(POWERS)
  createCounter(y.length)(y, 0, y.length, { centre, scale }, counts, 0, sums, 0)
  return { counts, sums }
}

describe('createCounter()', () => {
  it('puts every number into the bin between whose edges it lies', () => {
    fc.assert(
      fc.property(fc.float({ min: -4095, max: 4095, noNaN: true }), (z) => {
        const { counts } = counted(Float32Array.of(z))
        const bin = counts.indexOf(1)
        // 1e-12: z + 4 is rounded before it is cut.
        expect(z).toBeGreaterThanOrEqual(EDGES[bin]! - 1e-12)
        expect(z).toBeLessThanOrEqual(EDGES[bin + 1]!)
      }),
    )
  })

  it('puts what is beyond the grid into the end bins', () => {
    const { counts } = counted(Float32Array.of(-Infinity, -1e9, 1e9, Infinity, 1e9))
    expect([counts[0], counts[BINS - 1]]).toEqual([2, 3])
  })

  it('has rising edges from -4096 to 4096', () => {
    expect([EDGES[0], EDGES[BINS]]).toEqual([-4096, 4096])
    expect(EDGES.every((edge, i) => i === 0 || edge > EDGES[i - 1]!)).toBe(true)
  })

  it('counts as one by one, and sums powers to 1e-12, for odd and even counts, pieces and neurons', () => {
    const rng = createRng(3)
    const [centre, scale] = [0.37, 2.9]
    for (const n of [1, 2, 7, 500]) {
      const y = Float32Array.from({ length: n }, (_, i) => rng.normal() * (i % 50 === 0 ? 300 : 3))
      const z = [...y].map((value) => (value - centre) / scale)
      const expected = new Uint32Array(3 * BINS)
      for (const value of z) expected[BINS + naiveBin(value)]!++
      const counts = new Uint32Array(3 * BINS)
      const sums = new Float64Array(3 * POWERS)
      const count = createCounter(400)
      for (let from = 0; from < n; from += 301)
        count(y, from, Math.min(301, n - from), { centre, scale }, counts, BINS, sums, POWERS)
      expect(counts.findIndex((found, bin) => found !== expected[bin])).toBe(-1)
      for (let p = 0; p < POWERS; p++) {
        const powers = z.map((value) => value ** (p + 1))
        const size = powers.reduce((sum, power) => sum + Math.abs(power), 0)
        const exact = powers.reduce((sum, power) => sum + power, 0)
        expect(Math.abs(sums[POWERS + p]! - exact) / size).toBeLessThan(1e-12)
      }
    }
  })
})
