import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SolverError } from '../../src/errors.ts'
import { symmetricEigen } from '../../src/linalg/eigen.ts'
import { createRng } from '../../src/linalg/rng.ts'

describe('symmetricEigen()', () => {
  it('symmetricEigen() gives A V = V diag(values), orthonormal V, values descending', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.nat(999), (n, seed) => {
        const rng = createRng(seed)
        const A = new Float64Array(n * n)
        for (let i = 0; i < n; i++) for (let j = i; j < n; j++) A[i * n + j] = A[j * n + i] = rng.normal()
        const { values, vectors } = symmetricEigen(A, n)
        for (let p = 0; p < n; p++) {
          if (p > 0) expect(values[p]).toBeLessThanOrEqual(values[p - 1]!)
          for (let i = 0; i < n; i++) {
            let product = 0
            for (let j = 0; j < n; j++) product += A[i * n + j]! * vectors[j * n + p]!
            expect(Math.abs(product - values[p]! * vectors[i * n + p]!)).toBeLessThan(1e-10)
          }
          for (let q = 0; q <= p; q++) {
            let dot = 0
            for (let i = 0; i < n; i++) dot += vectors[i * n + p]! * vectors[i * n + q]!
            expect(Math.abs(dot - (p === q ? 1 : 0))).toBeLessThan(1e-10)
          }
        }
      }),
    )
  })

  it('symmetricEigen() reads the upper triangle only', () => {
    expect([...symmetricEigen(Float64Array.of(2, 0, 99, 1), 2).values]).toEqual([2, 1])
  })

  it('symmetricEigen() names the entry that is not finite', () => {
    expect(() => symmetricEigen(Float64Array.of(1, Number.NaN, 0, 1), 2)).toThrow(SolverError)
    expect(() => symmetricEigen(Float64Array.of(1, Number.NaN, 0, 1), 2)).toThrow('entry (0, 1) is NaN')
  })
})
