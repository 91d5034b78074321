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
