import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { coActivationOrder, permuteColumns, permuteRows, topGroups } from '../../src/predict/groups.ts'
import { alwaysSelect, gatedMagnitude, keepPredicted, Recall } from '../../src/predict/hire.ts'
import { shardedTopK } from '../../src/predict/shards.ts'
import { topK } from '../../src/predict/top-k.ts'

const score = fc.integer({ min: -40, max: 40 }).map((v) => v / 8)
const rows = fc
  .record({ width: fc.integer({ min: 1, max: 12 }), count: fc.integer({ min: 1, max: 5 }) })
  .chain(({ width, count }) => {
    const one = fc
      .array(score, { minLength: width * count, maxLength: width * count })
      .map((list) => Float32Array.from(list))
    return fc.record({ width: fc.constant(width), exact: one, predicted: one, a: fc.nat(), b: fc.nat() })
  })

describe('Recall', () => {
  it('is the mean share of the true top k among the predicted k-prime (naive twin)', () => {
    fc.assert(
      fc.property(rows, ({ width, exact, predicted, a, b }) => {
        const k = 1 + (a % width)
        const kPrime = k + (b % (width - k + 1))
        const recall = new Recall(width, k, [kPrime, width])
        recall.add(exact, predicted)
        let sum = 0
        for (let row = 0; row < exact.length; row += width) {
          const found = new Set(topK(predicted.subarray(row, row + width), kPrime))
          sum += [...topK(exact.subarray(row, row + width), k)].filter((j) => found.has(j)).length / k
        }
        expect(recall.means()[0]).toBeCloseTo(sum / (exact.length / width), 10)
        expect(recall.means()[1]).toBe(1)
      }),
    )
  })

  it('is 1 for a perfect predictor and does not depend on chunks', () => {
    const exact = Float32Array.of(3, 1, 2, 9, 8, 7)
    const chunked = new Recall(3, 2, [2])
    chunked.add(exact.subarray(0, 3), exact.subarray(0, 3))
    chunked.add(exact.subarray(3), Float32Array.of(0, 1, 2))
    expect(chunked.means()).toEqual([0.75])
  })

  it('refuses fewer predicted than wanted, and rows that do not match', () => {
    expect(() => new Recall(4, 3, [2])).toThrow('1 ≤ k')
    expect(() => new Recall(4, 1, [2]).add(new Float32Array(4), new Float32Array(8))).toThrow('rows of 4')
  })
})

describe('keepPredicted()', () => {
  it('keeps all k-prime, or cuts back to the k largest of them; k-prime of all is dense', () => {
    fc.assert(
      fc.property(rows, ({ width, exact, predicted, a, b }) => {
        const kPrime = 1 + (a % width)
        const k = 1 + (b % kPrime)
        const [all, cut, dense] = [exact.slice(), exact.slice(), exact.slice()]
        keepPredicted(all, predicted, width, kPrime)
        keepPredicted(cut, predicted, width, kPrime, k)
        keepPredicted(dense, predicted, width, width)
        expect(dense).toEqual(exact)
        for (let row = 0; row < exact.length; row += width) {
          const found = [...topK(predicted.subarray(row, row + width), kPrime)]
          exact.subarray(row, row + width).forEach((v, j) => expect(all[row + j]).toBe(found.includes(j) ? v : 0))
          const left = cut.subarray(row, row + width).filter((v) => v !== 0)
          expect(left.length).toBeLessThanOrEqual(k)
        }
      }),
    )
  })
})

describe('gatedMagnitude()', () => {
  it('is |silu(gate) up|', () => {
    const [g, u] = [Float32Array.of(0, 2, -3), Float32Array.of(5, -1, 2)]
    const wanted = [0, 2 / (1 + Math.exp(-2)), 6 / (1 + Math.exp(3))]
    gatedMagnitude(g, u).forEach((v, j) => expect(v).toBeCloseTo(wanted[j]!, 6))
  })
})

describe('alwaysSelect()', () => {
  it('puts a static set into every selection', () => {
    const predicted = Float32Array.of(5, 4, 0, 9, 8, 1)
    alwaysSelect(predicted, 3, Int32Array.of(2))
    expect([...topK(predicted.subarray(0, 3), 2)]).toEqual([0, 2])
    expect([...topK(predicted.subarray(3), 1)]).toEqual([2])
  })
})

describe('coActivationOrder()', () => {
  it('puts neurons that are active together into one group', () => {
    // Neurons 0, 2, 4 are active in the same tokens, 1, 3, 5 in others.
    const common = Float32Array.from({ length: 36 }, (_, at) => {
      const [i, j] = [Math.floor(at / 6), at % 6]
      return i % 2 === j % 2 ? 10 - i - j : 0
    })
    const order = [...coActivationOrder(common, 6, 3)]
    expect(new Set(order.slice(0, 3))).toEqual(new Set([0, 2, 4]))
    expect(new Set(order.slice(3))).toEqual(new Set([1, 3, 5]))
  })

  it('is a permutation for any counts and group size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 10 }), fc.array(score), (n, g, list) => {
        const common = Float32Array.from({ length: n * n }, (_, i) => list[i % (list.length || 1)] ?? 0)
        expect([...coActivationOrder(common, n, g)].sort((a, b) => a - b)).toEqual(
          Array.from({ length: n }, (_, i) => i),
        )
      }),
    )
  })

  it('leaves an FF layer the same function when rows and columns follow it', () => {
    const order = Int32Array.of(2, 0, 1)
    const [up, down, x] = [Float32Array.of(1, 2, 3, 4, 5, 6), Float32Array.of(7, 8, 9), [0.5, -1]]
    const ff = (u: Float32Array, w: Float32Array): number =>
      w.reduce((sum, weight, j) => sum + weight * (u[2 * j]! * x[0]! + u[2 * j + 1]! * x[1]!), 0)
    expect(ff(permuteRows(up, order), permuteColumns(down, order))).toBeCloseTo(ff(up, down), 10)
    expect([...permuteRows(up, order)]).toEqual([5, 6, 1, 2, 3, 4])
  })
})

describe('topGroups()', () => {
  it('takes whole groups by their energy', () => {
    const scores = Float32Array.of(1, 1, 3, 0, 0, 2, 9)
    expect([...topGroups(scores, 4, 2)]).toEqual([2, 3, 6])
    expect([...topGroups(scores, 1, 2)]).toEqual([6])
    expect([...topGroups(scores, 7, 1)]).toEqual([0, 1, 2, 3, 4, 5, 6])
  })
})

describe('shardedTopK()', () => {
  const list = fc.array(score, { minLength: 1, maxLength: 50 })

  it('equals the naive top k with one shard or enough slack, and exchanges nothing with one', () => {
    fc.assert(
      fc.property(list, fc.nat(), fc.nat(), (scores, a, b) => {
        const k = a % (scores.length + 1)
        const shards = 1 + (b % scores.length)
        const exact = [...topK(scores, k)]
        expect(shardedTopK(scores, k, 1, 0)).toEqual({
          selected: Int32Array.from(exact),
          recall: 1,
          bytesExchanged: 0,
        })
        expect([...shardedTopK(scores, k, shards, k).selected]).toEqual(exact)
      }),
    )
  })

  it('loses what a crowded shard could not send, and no more', () => {
    // The top 4 lie in the first of two shards, which sends 2 of them.
    const crowded = shardedTopK([9, 8, 7, 6, 1, 2, 3, 4], 4, 2, 0)
    expect(crowded).toEqual({ selected: Int32Array.of(0, 1, 6, 7), recall: 0.5, bytesExchanged: 32 })
    expect(shardedTopK([9, 8, 7, 6, 1, 2, 3, 4], 4, 2, 1).recall).toBe(0.75)
  })

  it('has recall that never falls with slack', () => {
    fc.assert(
      fc.property(list, fc.nat(), fc.nat(), fc.nat(5), (scores, a, b, slack) => {
        const [k, shards] = [a % (scores.length + 1), 1 + (b % scores.length)]
        const [less, more] = [slack, slack + 1].map((s) => shardedTopK(scores, k, shards, s).recall)
        expect(more).toBeGreaterThanOrEqual(less!)
      }),
    )
  })

  it('refuses more shards than scores', () => {
    expect(() => shardedTopK([1, 2], 1, 3, 0)).toThrow('3 shards')
  })
})
