import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRng } from '../../src/linalg/rng.ts'
import { instantiateWasm } from '../../src/linalg/wasm.ts'
import type { SolverKernels } from '../../src/prune/kernels.ts'
import { upperFactorOfInverse } from './naive.ts'

const wasm = instantiateWasm<SolverKernels>(8 * 1024 * 1024)

describe('scoreColumns(), countLowBits() and findRank()', () => {
  const bins = wasm.allocate(65536)
  const [W, scores, diagonal] = [wasm.allocate(4096), wasm.allocate(4096), wasm.allocate(64)]

  it('find the exact k-th smallest score', () => {
    const value = fc.oneof(
      fc.float({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(0, -0, 1, -1, 1.0000001, 2 ** -149, -(2 ** -130), 3e38),
    )
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.array(value, { minLength: 4, maxLength: 40 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (rows, values, share) => {
          const outs = values.length & ~3
          const at = wasm.view(W, rows * outs)
          at.forEach((_, i) => (at[i] = values[(i * 7) % outs]! * (i % 3 === 0 ? 0.5 : 1)))
          wasm.view(diagonal, rows).fill(0.75)
          const wanted = Float32Array.from(at, (w) => Math.abs(Math.fround(w * 0.75)))
          const k = Math.floor(at.length * share)
          wasm.exports.clearCounters(bins)
          wasm.exports.scoreColumns(W, scores, rows, outs, diagonal, bins)
          const upper = wasm.exports.findRank(bins, k)
          wasm.exports.clearCounters(bins)
          wasm.exports.countLowBits(scores, at.length, Math.floor(upper / 2 ** 32), bins)
          const low = wasm.exports.findRank(bins, upper % 2 ** 32)
          const bits = Math.floor(upper / 2 ** 32) * 2 ** 15 + Math.floor(low / 2 ** 32)
          expect(new Float32Array(Uint32Array.of(bits).buffer)[0]).toBe(wanted.toSorted()[k])
          expect(wasm.view(scores, at.length)).toEqual(wanted)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('factorBlock() and invertBlock()', () => {
  it.each([1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 64, 100, 128, 256])('n = %i: U = Yᵀ has UᵀU = H⁻¹', (n) => {
    const rng = createRng(n)
    const ld = Math.ceil(n / 4) * 4
    const A = Float64Array.from({ length: n * n }, () => rng.normal())
    const H = new Float64Array(n * n)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        for (let k = 0; k < n; k++) H[i * n + j]! += (A[i * n + k]! * A[j * n + k]!) / n
        if (i === j) H[i * n + j]! += 0.1
      }
    wasm.reset()
    const [S, Y] = [wasm.allocate(n * ld), wasm.allocate(n * ld)]
    const block = wasm.view(S, n * ld).fill(0)
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) block[i * ld + j] = H[i * n + j]!
    expect(wasm.exports.factorBlock(S, n, ld)).toBe(-1)
    wasm.exports.invertBlock(S, Y, n, ld)
    const U = upperFactorOfInverse(H, n)
    const inverse = wasm.view(Y, n * ld)
    const scale = Math.max(...U.map(Math.abs))
    let worst = 0
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) worst = Math.max(worst, Math.abs(inverse[j * ld + i]! - U[i * n + j]!))
    // Single precision times the root of a condition number of at most about 50.
    expect(worst / scale).toBeLessThan(2e-5)
    wasm.exports.scaleToUnit(Y, S, n, ld)
    for (let j = 0; j < n; j++) expect(block[j * ld + j]).toBe(1)
  })

  it('reports the row of the first bad pivot from the end', () => {
    wasm.reset()
    const [n, ld] = [12, 12]
    const S = wasm.allocate(n * ld)
    for (const [bad, value] of [
      [3, -2],
      [11, 0],
      [9, NaN],
      [5, Infinity],
    ] as const) {
      const block = wasm.view(S, n * ld).fill(0)
      for (let i = 0; i < n; i++) block[i * ld + i] = i === bad ? value : 1
      expect(wasm.exports.factorBlock(S, n, ld)).toBe(bad)
      expect(block[bad * ld + bad]).toBe(value)
    }
  })
})
