import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { drawPairs, mappingDifficulty, median } from '../../src/entangle/mapping.ts'
import { createRng } from '../../src/linalg/rng.ts'

/** MD as the paper's code has it, in plain lists. */
function naive(dy: number[][], dx: number[]): number[] {
  const far = Math.max(...dx)
  return dy.map((row) => {
    const sorted = row.map(Math.abs).sort((a, b) => a - b)
    const middle = (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.floor(sorted.length / 2)]!) / 2
    return row.reduce((sum, d, i) => sum + Math.abs(d) / middle / (dx[i]! / far), 0) / row.length
  })
}

describe('drawPairs()', () => {
  it('draws disjoint pairs, equal for equal seeds', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 400 }),
        fc.integer({ min: 1, max: 300 }),
        fc.nat(1000),
        (n, count, seed) => {
          const { first, second } = drawPairs(n, count, seed)
          const drawn = [...first, ...second]
          expect(first.length).toBe(Math.min(count, Math.floor(n / 2)))
          expect(new Set(drawn).size).toBe(2 * first.length)
          expect(drawn.every((i) => i >= 0 && i < n)).toBe(true)
          expect(drawPairs(n, count, seed)).toEqual({ first, second })
        },
      ),
    )
  })

  it('gives every token the same chance', () => {
    const hits = Array.from({ length: 10 }, () => 0)
    for (let seed = 0; seed < 2000; seed++) for (const i of drawPairs(10, 2, seed).first) hits[i]!++
    // 400 expected, standard deviation 18: 6 of them.
    for (const count of hits) expect(Math.abs(count - 400)).toBeLessThan(108)
  })

  it('has no pairs where there are no two tokens', () => {
    expect(drawPairs(1, 5, 0).first.length).toBe(0)
  })
})

describe('mappingDifficulty()', () => {
  it("equals the paper's formula", () => {
    const rng = createRng(3)
    const dx = Array.from({ length: 33 }, () => 0.1 + rng.uniform())
    const dy = Array.from({ length: 5 }, () => dx.map(() => Math.fround(rng.normal())))
    const md = mappingDifficulty(Float32Array.from(dy.flat()), Float64Array.from(dx))
    naive(dy, dx).forEach((wanted, j) => expect(md[j]).toBeCloseTo(wanted, 10))
  })

  it('does not change when a neuron is scaled or inputs are: only the shape of the mapping counts', () => {
    const rng = createRng(4)
    const dx = Float64Array.from({ length: 40 }, () => 0.1 + rng.uniform())
    const dy = Float32Array.from({ length: 40 }, () => rng.normal())
    const [md] = mappingDifficulty(dy, dx)
    expect(
      mappingDifficulty(
        dy.map((v) => 4 * v),
        dx.map((v) => 8 * v),
      )[0],
    ).toBeCloseTo(md!, 12)
  })

  it('leaves out pairs of equal inputs and gives NaN to a constant neuron', () => {
    const dx = Float64Array.of(1, 0, 2)
    expect([...mappingDifficulty(Float32Array.of(1, 9, -3, 0, 0, 0), dx)]).toEqual([(1 / 0.5 / 2 + 3 / 1 / 2) / 2, NaN])
  })

  it('refuses differences that are not a multiple of the pairs', () => {
    expect(() => mappingDifficulty(new Float32Array(5), new Float64Array(2))).toThrow('not a multiple of 2 pairs')
  })
})

describe('median()', () => {
  it('is the middle, or the mean of both middles', () => {
    expect([[1, 9, 2], [9, 1, 4, 2], []].map((list) => median(Float32Array.from(list)))).toEqual([2, 3, NaN])
  })

  it('equals the median of sorted numbers', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 50 }), (list) => {
        const sorted = list.toSorted((a, b) => a - b)
        const wanted = (sorted[(list.length - 1) >> 1]! + sorted[list.length >> 1]!) / 2
        expect(median(Float32Array.from(list))).toBe(wanted)
      }),
    )
  })
})
