import * as fc from 'fast-check'
import { beforeAll, expect, it } from 'vitest'
import { ShapeError } from '../../src/errors.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import type { Blas } from '../../src/tensor/blas.ts'

let blas: Blas
beforeAll(async () => {
  blas = await createBlas(2)
})

const size = fc.integer({ min: 1, max: 20 })
const factor = fc.constantFrom(0, 1, -1, 0.5)

it('gemm() equals the triple loop for all flags, C in place', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(size, size, size),
      fc.boolean(),
      fc.boolean(),
      factor,
      factor,
      async ([m, n, k], transA, transB, alpha, beta) => {
        const rng = createRng(m * 400 + n * 20 + k)
        const random = (length: number): Float32Array => Float32Array.from({ length }, () => rng.normal())
        const [A, B, C] = [random(m * k), random(k * n), random(m * n)]
        const wanted = Array.from({ length: m * n }, (_, at) => {
          const [i, j] = [Math.floor(at / n), at % n]
          let sum = 0
          for (let l = 0; l < k; l++) sum += A[transA ? l * m + i : i * k + l]! * B[transB ? j * k + l : l * n + j]!
          return alpha * sum + beta * C[at]!
        })
        await blas.gemm(m, n, k, A, B, C, { transA, transB, alpha, beta })
        // 20 products of order 1 in single precision.
        C.forEach((c, at) => expect(Math.abs(c - wanted[at]!)).toBeLessThan(1e-4))
      },
    ),
    { numRuns: 150 },
  )
})

it('gemm() defaults to C = A B and takes views of a larger buffer', async () => {
  const memory = new Float32Array(64)
  const [A, B, C] = [memory.subarray(3, 7), memory.subarray(10, 14), memory.subarray(20, 24)]
  A.set([1, 2, 3, 4])
  B.set([1, 0, 0, 10])
  C.fill(NaN)
  await blas.gemm(2, 2, 2, A, B, C)
  expect([...C]).toEqual([1, 20, 3, 40])
  expect(memory[24]).toBe(0)
})

it('gemm() goes on after more combinations of flags than sessions are kept', async () => {
  const C = new Float32Array(1)
  for (let round = 0; round < 2; round++)
    for (let alpha = 1; alpha <= 20; alpha++) {
      await blas.gemm(1, 1, 1, Float32Array.of(3), Float32Array.of(2), C, { alpha })
      expect(C[0]).toBe(6 * alpha)
    }
})

it('gemm() gives the same bytes on any number of threads, narrow products included', async () => {
  const rng = createRng(7)
  const random = (length: number): Float32Array => Float32Array.from({ length }, () => rng.normal())
  const others = await Promise.all([1, 3, 4].map(createBlas))
  for (const [m, n, k] of [
    [8, 48, 1300],
    [30, 100, 700],
    [100, 130, 900],
    [200, 400, 600],
    [300, 40, 800],
  ] as const) {
    const [A, B, C] = [random(m * k), random(k * n), new Float32Array(m * n)]
    await blas.gemm(m, n, k, A, B, C)
    for (const other of others) {
      const same = new Float32Array(m * n)
      await other.gemm(m, n, k, A, B, same)
      expect(same).toEqual(C)
    }
  }
})

it('gemm() refuses operands of the wrong length', async () => {
  const two = new Float32Array(2)
  await expect(blas.gemm(2, 2, 2, two, two, two)).rejects.toThrow(ShapeError)
})
