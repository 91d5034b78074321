import { describe, expect, it } from 'vitest'
import { fitRouter } from '../../src/cluster/router.ts'
import { SpexpandError } from '../../src/errors.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { createBlas } from '../../src/runtime/blas.ts'

const DIM = 40

function normals(count: number, seed: number): Float32Array {
  const { normal } = createRng(seed)
  return Float32Array.from({ length: count }, () => normal())
}

/** Inputs (rows, DIM) by what is wrong with them, and how many experts they can have at most. */
const KINDS: Readonly<
  Record<string, { readonly X: (rows: number) => Float32Array; readonly most?: (rows: number) => number }>
> = {
  plain: { X: (rows) => normals(rows * DIM, 1) },
  constant: { X: (rows) => new Float32Array(rows * DIM).fill(2), most: () => 1 },
  'all zero': { X: (rows) => new Float32Array(rows * DIM), most: () => 1 },
  'two different tokens': {
    X: (rows) => Float32Array.from({ length: rows * DIM }, (_, i) => Math.floor(i / DIM) % 2),
    most: () => 2,
  },
  'every token three times': { X: repeated, most: (rows) => Math.ceil(rows / 3) },
  'most columns zero': { X: (rows) => normals(rows * DIM, 3).map((x, i) => (i % DIM < 37 ? 0 : x)) },
  'rank 1': { X: rankOne },
  'one token far from all': { X: (rows) => normals(rows * DIM, 5).map((x, i) => (i < DIM ? x * 1e12 : x)) },
  'near the square root of the largest float': { X: (rows) => normals(rows * DIM, 6).map((x) => x * 1e17) },
  '1e30': { X: (rows) => normals(rows * DIM, 7).map((x) => x * 1e30), most: () => 0 },
  subnormal: { X: (rows) => normals(rows * DIM, 8).map((x) => x * 1e-40) },
  'NaN in one place': { X: (rows) => normals(rows * DIM, 9).map((x, i) => (i === 5 ? NaN : x)), most: () => 0 },
  'Infinity in one place': {
    X: (rows) => normals(rows * DIM, 9).map((x, i) => (i === 5 ? Infinity : x)),
    most: () => 0,
  },
}

function repeated(rows: number): Float32Array {
  const one = normals(Math.ceil(rows / 3) * DIM, 2)
  return Float32Array.from({ length: rows * DIM }, (_, i) => one[Math.floor(i / DIM / 3) * DIM + (i % DIM)]!)
}

function rankOne(rows: number): Float32Array {
  const [a, b] = [normals(rows, 3), normals(DIM, 4)]
  return Float32Array.from({ length: rows * DIM }, (_, i) => a[Math.floor(i / DIM)]! * b[i % DIM]!)
}

describe('fitRouter() gives every token an expert of finite scores, or names what is wrong', () => {
  const cases = Object.keys(KINDS).flatMap((kind) => [0, 1, 2, 200].map((rows) => ({ kind, rows })))

  it.each(cases)('$kind, $rows tokens', async ({ kind, rows }) => {
    const blas = await createBlas(1)
    const { X, most = (count) => count } = KINDS[kind]!
    const data = X(rows)
    for (const experts of [1, 2, 16]) {
      const chunk = (start: number, end: number): Float32Array => data.slice(start * DIM, end * DIM)
      const fit = fitRouter({ rows, dim: DIM, chunk, experts, blas, name: 'layer 3' })
      // One expert reads nothing: what its tokens hold is for the solver.
      const isPossible = rows >= experts && (experts === 1 || experts <= most(rows))
      if (!isPossible) {
        await expect(fit).rejects.toThrow(SpexpandError)
        await expect(fit).rejects.toThrow(/Cannot cluster/)
        continue
      }
      const { router, labels, counts } = await fit
      expect([...router.weight.data, ...router.bias].every(Number.isFinite)).toBe(true)
      expect(labels).toHaveLength(rows)
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(rows)
      expect(labels.every((label) => label < experts)).toBe(true)
    }
  })
})
