import { describe, expect, it } from 'vitest'
import { inverseFrequencies } from '../../src/model/rope.ts'

describe('inverseFrequencies()', () => {
  it('is theta^(-2j/d)', () => {
    const got = inverseFrequencies({ type: 'default', theta: 10000 }, 8)
    expect([...got]).toEqual([1, 0.1, 0.01, 0.001].map(Math.fround))
  })

  it('keeps short waves, divides long ones by the factor, and blends between (llama3)', () => {
    const theta = 10000
    const llama3 = {
      type: 'llama3',
      theta,
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositions: 32,
    } as const
    const plain = inverseFrequencies({ type: 'default', theta }, 12)
    const share = inverseFrequencies(llama3, 12).map((f, j) => f / plain[j]!)
    // Wavelengths are 6.3, 29, 135, ...: below 32 / 4, between 32 / 4 and 32 / 1, above 32.
    expect(share[0]).toBe(1)
    const smooth = (32 / ((2 * Math.PI) / plain[1]!) - 1) / 3
    expect(share[1]).toBeCloseTo((1 - smooth) / 8 + smooth, 6)
    expect(share.slice(2)).toEqual(Float32Array.of(0.125, 0.125, 0.125, 0.125))
  })
})

describe('inverseFrequencies() by type', () => {
  const theta = 10000
  const plain = inverseFrequencies({ type: 'default', theta }, 16)

  it('divides by the factor (linear)', () => {
    expect(inverseFrequencies({ type: 'linear', theta, factor: 4 }, 16)).toEqual(plain.map((f) => f / 4))
  })

  it('raises the base only beyond the original length (dynamic)', () => {
    const dynamic = { type: 'dynamic', theta, factor: 2, originalMaxPositions: 32 } as const
    expect(inverseFrequencies(dynamic, 16, 32)).toEqual(plain)
    const far = inverseFrequencies(dynamic, 16, 64)
    expect(far[0]).toBe(1)
    // The last wave is stretched by exactly 2 · 64 / 32 − 1.
    expect(plain[7]! / far[7]!).toBeCloseTo(3, 5)
  })

  it('keeps fast waves, divides slow ones and ramps between (yarn)', () => {
    const yarn = { type: 'yarn', theta, factor: 8, betaFast: 32, betaSlow: 1, truncate: true } as const
    const got = inverseFrequencies({ ...yarn, originalMaxPositions: 4096, attentionFactor: 1 }, 16)
    const share = got.map((f, j) => f / plain[j]!)
    expect(share[0]).toBe(1)
    expect(share[7]).toBeCloseTo(1 / 8, 6)
    expect([...share]).toEqual([...share].toSorted((a, b) => b - a))
  })

  it('divides by the list for the length (longrope)', () => {
    const factors = { shortFactor: Array<number>(8).fill(1), longFactor: Array<number>(8).fill(2) }
    const rope = { type: 'longrope', theta, ...factors, originalMaxPositions: 32, attentionFactor: 1 } as const
    expect(inverseFrequencies(rope, 16, 32)).toEqual(plain)
    expect(inverseFrequencies(rope, 16, 33)).toEqual(plain.map((f) => f / 2))
  })
})
