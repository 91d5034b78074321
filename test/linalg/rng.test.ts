import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRng, sample, shuffle } from '../../src/linalg/rng.ts'

/** The first numbers of a seed. */
function first(seed: number): number[] {
  const rng = createRng(seed)
  return Array.from({ length: 8 }, () => rng.uint32())
}

describe('createRng()', () => {
  it('createRng() repeats its sequence for a seed and differs for others', () => {
    expect(first(7)).toEqual(first(7))
    const all = [first(7), first(8), first(-7), first(7 + 2 ** 32), first(1), first(0)]
    expect(new Set(all.map((numbers) => numbers.join())).size).toBe(all.length)
  })

  it('createRng() equals sfc32 of the published source, seeded by splitmix32', () => {
    // Twin in BigInt of PractRand's sfc32: tmp = a + b + counter++; a = b ^ (b >> 9); b = c + (c << 3); c = rotl(c, 21) + tmp.
    const mask = 0xffffffffn
    let state = 5n
    const split = (): bigint => {
      state = (state + 0x9e3779b9n) & mask
      let z = state ^ (state >> 16n)
      z = (z * 0x21f0aaadn) & mask
      z = ((z ^ (z >> 15n)) * 0x735a2d97n) & mask
      return z ^ (z >> 15n)
    }
    let [a, b, c, counter] = [split(), split(), split(), 1n]
    const next = (): number => {
      const t = (a + b + counter) & mask
      counter = (counter + 1n) & mask
      a = b ^ (b >> 9n)
      b = (c + (c << 3n)) & mask
      c = (((c << 21n) | (c >> 11n)) + t) & mask
      return Number(t)
    }
    for (let i = 0; i < 12; i++) next()
    const rng = createRng(5)
    for (let i = 0; i < 100; i++) expect(rng.uint32()).toBe(next())
  })

  it('createRng() draws uniform and normal numbers with the right moments', () => {
    const rng = createRng(11)
    const n = 200_000
    const moments = (draw: () => number): [number, number] => {
      let sum = 0
      let squares = 0
      for (let i = 0; i < n; i++) {
        const x = draw()
        sum += x
        squares += x * x
      }
      return [sum / n, squares / n - (sum / n) ** 2]
    }
    // Five standard errors of 200,000 draws.
    const [mean, variance] = moments(rng.uniform)
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.0033)
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.0009)
    const [normalMean, normalVariance] = moments(rng.normal)
    expect(Math.abs(normalMean)).toBeLessThan(0.0112)
    expect(Math.abs(normalVariance - 1)).toBeLessThan(0.0159)
  })
})

describe('sample()', () => {
  it('sample() gives distinct ascending indexes, all of them when asked for more', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(250), fc.nat(99), (n, count, seed) => {
        const chosen = [...sample(n, count, createRng(seed))]
        expect(chosen.length).toBe(Math.min(n, count))
        expect(new Set(chosen).size).toBe(chosen.length)
        expect([...chosen].sort((a, b) => a - b)).toEqual(chosen)
        for (const i of chosen) expect(i >= 0 && i < n).toBe(true)
      }),
    )
  })

  it('sample() chooses every index equally often', () => {
    const counts = new Int32Array(10)
    const rng = createRng(3)
    for (let i = 0; i < 10_000; i++) for (const index of sample(10, 3, rng)) counts[index]!++
    // 3,000 each, standard deviation 46: five of them.
    for (const count of counts) expect(Math.abs(count - 3000)).toBeLessThan(230)
  })
})

describe('shuffle()', () => {
  it('shuffle() permutes', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.nat(), (values, seed) => {
        const shuffled = [...values]
        shuffle(shuffled, createRng(seed))
        expect([...shuffled].sort((a, b) => a - b)).toEqual([...values].sort((a, b) => a - b))
      }),
    )
  })

  it('shuffle() makes every order of three equally likely', () => {
    const counts = new Map<string, number>()
    const rng = createRng(1)
    for (let i = 0; i < 12_000; i++) {
      const values = [1, 2, 3]
      shuffle(values, rng)
      counts.set(values.join(), (counts.get(values.join()) ?? 0) + 1)
    }
    expect(counts.size).toBe(6)
    // 2,000 each, standard deviation 41: five of them.
    for (const count of counts.values()) expect(Math.abs(count - 2000)).toBeLessThan(205)
  })
})
