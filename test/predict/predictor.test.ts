import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRng } from '../../src/linalg/rng.ts'
import { predictorBytes, storeFactors, storeRows } from '../../src/predict/predictor.ts'
import { dequantizeRows, quantizeRows } from '../../src/predict/quantized-rows.ts'
import { RankRecall } from '../../src/predict/rank-recall.ts'
import { topK } from '../../src/predict/top-k.ts'
import { fromF16 } from '../../src/tensor/half.ts'
import { matOf } from '../../src/tensor/mat.ts'

function random(n: number, seed: number): Float32Array {
  const { uniform } = createRng(seed)
  return Float32Array.from({ length: n }, () => uniform() * 2 - 1)
}

describe('storeRows()', () => {
  it.each([4, 8] as const)(
    'packs %i-bit numbers as MatMulNBits unpacks them (naive twin), inputs beyond d are 0',
    (bits) => {
      const [n, d, groupSize] = [5, 50, 32]
      const rows = quantizeRows(matOf(n, d, random(n * d, 1)), bits, groupSize)
      const { numbers, scales } = storeRows(rows)
      expect(numbers!.shape).toEqual([n, 2, (32 * bits) / 8])
      const steps = fromF16(new Uint16Array(scales!.bytes.buffer))
      const wanted = dequantizeRows(rows)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < 64; j++) {
          const at = i * 64 + j
          const byte = numbers!.bytes[bits === 8 ? at : at >> 1]!
          const stored = bits === 8 ? byte - 128 : ((byte >> (4 * (at & 1))) & 15) - 8
          expect(stored * steps[i * 2 + (j >> 5)]!).toBe(j < d ? wanted.data[i * d + j]! : 0)
        }
    },
  )

  it('refuses scales of whole rows', () => {
    expect(() => storeRows(quantizeRows(matOf(1, 32, random(32, 1)), 4, 0))).toThrow('wanted 32, 64 or 128')
  })
})

describe('storeFactors()', () => {
  it('keeps the product of factors of very different sizes within what f16 holds', () => {
    const [n, r, d] = [40, 4, 24]
    const U = random(n * r, 2).map((value, i) => value * 10 ** (6 - 3 * (i % r)))
    const V = random(r * d, 3).map((value, i) => value * 10 ** (3 * Math.floor(i / d) - 6))
    const stored = storeFactors({ U: matOf(n, r, U), V: matOf(r, d, V), energies: new Float64Array(d) })
    const [left, right] = [stored['U']!, stored['V']!].map(({ bytes }) => fromF16(new Uint16Array(bytes.buffer)))
    for (let i = 0; i < n; i++)
      for (let j = 0; j < d; j++) {
        let [exact, got] = [0, 0]
        for (let k = 0; k < r; k++) {
          exact += U[i * r + k]! * V[k * d + j]!
          got += left![i * r + k]! * right![k * d + j]!
        }
        // Two roundings to 11 bits for each of r products of magnitude at most 1.
        expect(Math.abs(got - exact)).toBeLessThan(r * 2 ** -10)
      }
  })
})

describe('predictorBytes()', () => {
  it('counts what is stored', () => {
    const rows = quantizeRows(matOf(6, 64, random(384, 4)), 4, 32)
    const { numbers, scales } = storeRows(rows)
    const bytes = numbers!.bytes.byteLength + scales!.bytes.byteLength
    expect(predictorBytes({ kind: 'q', bits: 4, groupSize: 32 }, 6, 64)).toBe(bytes)
    expect(predictorBytes({ kind: 'lr', rank: 8 }, 6, 64)).toBe(2 * 8 * 70)
  })
})

describe('RankRecall', () => {
  it('gives the recall of every k-prime at once (naive twin)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 20 }), fc.integer({ min: 1, max: 20 }), fc.nat(), (width, some, seed) => {
        const k = Math.min(some, width)
        const [exact, predicted] = [random(3 * width, seed), random(3 * width, seed + 1)]
        const recall = new RankRecall(width, k)
        recall.add(exact, predicted)
        for (let kPrime = k; kPrime <= width; kPrime++) {
          let hits = 0
          for (let row = 0; row < 3; row++) {
            const cut = (scores: Float32Array): Float32Array => scores.subarray(row * width, (row + 1) * width)
            const found = new Set(topK(cut(predicted), kPrime))
            for (const j of topK(cut(exact), k)) hits += Number(found.has(j))
          }
          expect(recall.at(kPrime)).toBeCloseTo(hits / (3 * k), 12)
          if (recall.at(kPrime) > 0) expect(recall.smallest(recall.at(kPrime))).toBeLessThanOrEqual(kPrime)
        }
        expect(recall.smallest(1)).toBeLessThanOrEqual(width)
        expect(recall.at(recall.smallest(0.9))).toBeGreaterThanOrEqual(0.9 - 1e-9)
      }),
    )
  })

  it('counts equal predictions against the predictor', () => {
    const recall = new RankRecall(4, 1)
    recall.add(Float32Array.of(9, 1, 1, 1), Float32Array.of(0, 0, 0, 0))
    expect([recall.at(3), recall.at(4)]).toEqual([0, 1])
  })
})
