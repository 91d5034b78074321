import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chanceJaccard, jaccard, meanPairJaccard, staticOrder } from '../../src/predict/flocking.ts'
import { columnNorms, countScores, magnitudeScores, rowNorms, timesNorms } from '../../src/predict/scores.ts'
import { SELECTION_METHODS, selectNeurons } from '../../src/predict/select.ts'
import { kthLargest, markTopK, topK } from '../../src/predict/top-k.ts'

const scores = fc
  .array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 40 })
  .map((list) => Float64Array.from(list, (v) => v / 8))
const ints = (...list: number[]): Int32Array => Int32Array.from(list)

describe('selectNeurons()', () => {
  it('gives k distinct neurons by rising index, all of them at density 1, whatever the method', () => {
    fc.assert(
      fc.property(scores, fc.nat(), fc.constantFrom(...SELECTION_METHODS), fc.nat(99), (s, n, method, seed) => {
        const k = n % (s.length + 1)
        const chosen = [...selectNeurons(s, k, method, seed)]
        expect(chosen).toHaveLength(k)
        expect(chosen).toEqual([...new Set(chosen)].sort((a, b) => a - b))
        expect([...selectNeurons(s, s.length, method, seed)]).toEqual([...s.keys()])
      }),
    )
  })

  it('takes the largest scores, the lowest index on ties (naive twin)', () => {
    fc.assert(
      fc.property(scores, fc.nat(), (s, n) => {
        const k = n % (s.length + 1)
        const sorted = [...s.keys()].sort((a, b) => s[b]! - s[a]! || a - b)
        expect([...selectNeurons(s, k)]).toEqual(sorted.slice(0, k).sort((a, b) => a - b))
      }),
    )
  })

  it('keeps the larger half with mixed', () => {
    const s = Float64Array.of(1, 9, 2, 8, 3, 7)
    const chosen = selectNeurons(s, 4, 'mixed', 5)
    expect([...chosen]).toEqual(expect.arrayContaining([1, 3]))
  })

  it('draws the same set for the same seed, neurons in proportion to their scores', () => {
    const s = Float64Array.of(1, 3, 0)
    const first = Array.from({ length: 2000 }, (_, seed) => selectNeurons(s, 1, 'sample', seed)[0]!)
    expect(first[7]).toBe(selectNeurons(s, 1, 'sample', 7)[0])
    // 2000 draws with chance 3/4: five standard deviations are 0.048.
    expect(Math.abs(first.filter((j) => j === 1).length / 2000 - 0.75)).toBeLessThan(0.05)
    expect(first).not.toContain(2)
  })

  it('refuses more neurons than there are, and scores that are no chances', () => {
    expect(() => selectNeurons(Float64Array.of(1, 2), 3)).toThrow('Cannot select 3 of 2')
    expect(() => selectNeurons(Float64Array.of(1, -2), 1, 'sample')).toThrow('neuron 1 has score -2')
    expect(() => selectNeurons(Float64Array.of(1, NaN), 2, 'mixed')).toThrow('neuron 1 has score NaN')
  })
})

describe('markTopK()', () => {
  it('marks the set of topK()', () => {
    fc.assert(
      fc.property(scores, fc.nat(), (s, n) => {
        const k = n % (s.length + 1)
        const out = new Uint8Array(s.length)
        markTopK(Float32Array.from(s), k, out, new Float32Array(s.length))
        expect([...s.keys()].filter((j) => out[j] === 1)).toEqual([...topK(s, k)])
      }),
    )
  })

  it('rests on kthLargest(), which is the k-th of the sorted numbers', () => {
    fc.assert(
      fc.property(scores, fc.nat(), (s, n) => {
        const k = 1 + (n % s.length)
        expect(kthLargest(Float32Array.from(s), k)).toBe([...s].sort((a, b) => b - a)[k - 1])
      }),
    )
  })
})

describe('scores of weights and counts', () => {
  const W = Float32Array.of(3, 4, 0, 5, 12, 0) // (2, 3)

  it('rowNorms() and columnNorms() are L2 norms', () => {
    expect([...rowNorms(W, 2)]).toEqual([5, 13])
    expect([...columnNorms(W, 3)]).toEqual([Math.sqrt(34), Math.sqrt(160), 0])
  })

  it('magnitudeScores() multiplies the norms of gate and up rows', () => {
    expect([...magnitudeScores(W, W, 2)]).toEqual([25, 169])
  })

  it('timesNorms() weights neurons and refuses another number of them', () => {
    expect([...timesNorms(Float64Array.of(2, 3), Float64Array.of(5, 7))]).toEqual([10, 21])
    expect(() => timesNorms(new Float64Array(2), new Float64Array(3))).toThrow('2 neurons by 3 norms')
  })

  it('countScores() counts tokens that have a neuron among their largest', () => {
    expect([...countScores(Float32Array.of(-9, 1, 2, 0, -3, 1, 5, 0, 0), 3, 1)]).toEqual([2, 1, 0])
    // A neuron that does nothing is not counted, though a token may have no others.
    expect([...countScores(Float32Array.of(0, 5, 0), 3, 2)]).toEqual([0, 1, 0])
  })
})

describe('flocking', () => {
  it('jaccard() is intersection over union, 1 for equal sets in any order', () => {
    expect(jaccard(ints(1, 2, 3), ints(2, 3, 4))).toBe(0.5)
    expect(jaccard(ints(3, 1), ints(1, 3))).toBe(1)
    expect([jaccard(ints(1), ints(2)), jaccard(ints(), ints())]).toEqual([0, 1])
  })

  it('meanPairJaccard() is the mean over pairs and wants two sets', () => {
    expect(meanPairJaccard([ints(1, 2), ints(1, 2), ints(3, 4)])).toBeCloseTo(1 / 3, 12)
    expect(() => meanPairJaccard([ints(1)])).toThrow('at least 2')
  })

  it('chanceJaccard() is about what random sets have', () => {
    const n = 200
    const sets = Array.from({ length: 30 }, (_, seed) =>
      selectNeurons(new Float64Array(n).fill(1), 100, 'sample', seed),
    )
    // The mean over 435 pairs has a standard deviation of about 0.002.
    expect(Math.abs(meanPairJaccard(sets) - chanceJaccard(100, n))).toBeLessThan(0.01)
  })

  it('staticOrder() weighs sequences alike and puts ties by index', () => {
    expect([...staticOrder([Float64Array.of(100, 0, 0), Float64Array.of(0, 1, 1), Float64Array.of(0, 2, 2)])]).toEqual([
      1, 2, 0,
    ])
  })
})
