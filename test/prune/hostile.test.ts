import { beforeAll, describe, expect, it } from 'vitest'
import { SolverError } from '../../src/errors.ts'
import { createRng } from '../../src/linalg/rng.ts'
import type { PruneMatrixOptions, PrunedMatrix } from '../../src/prune/prune-matrix.ts'
import { pruneMatrix } from '../../src/prune/prune-matrix.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import type { Blas } from '../../src/tensor/blas.ts'
import { matOf } from '../../src/tensor/mat.ts'

let blas: Blas
beforeAll(async () => {
  blas = await createBlas(1)
})

const [OUTPUTS, INPUTS] = [20, 48]

function normals(count: number, seed: number): Float32Array {
  const { normal } = createRng(seed)
  return Float32Array.from({ length: count }, () => normal())
}

/** Inputs X (tokens, INPUTS) by what is wrong with them. */
const INPUT_KINDS: Readonly<Record<string, (tokens: number) => Float32Array>> = {
  plain: (tokens) => normals(tokens * INPUTS, 1),
  'one token many times': (tokens) => {
    const x = normals(INPUTS, 2)
    return Float32Array.from({ length: tokens * INPUTS }, (_, i) => x[i % INPUTS]!)
  },
  constant: (tokens) => new Float32Array(tokens * INPUTS).fill(3),
  'all zero': (tokens) => new Float32Array(tokens * INPUTS),
  'rank 1': (tokens) => {
    const [a, b] = [normals(tokens, 3), normals(INPUTS, 4)]
    return Float32Array.from({ length: tokens * INPUTS }, (_, i) => a[Math.floor(i / INPUTS)]! * b[i % INPUTS]!)
  },
  'half of the columns zero': (tokens) => normals(tokens * INPUTS, 5).map((x, i) => (i % 2 === 0 ? 0 : x)),
  'one column 1e15 times the others': (tokens) =>
    normals(tokens * INPUTS, 6).map((x, i) => (i % INPUTS === 7 ? x * 1e15 : x)),
  'near the square root of the largest float': (tokens) => normals(tokens * INPUTS, 7).map((x) => x * 1e17),
  'squares that are subnormal': (tokens) => normals(tokens * INPUTS, 8).map((x) => x * 1e-20),
  'squares that underflow': (tokens) => normals(tokens * INPUTS, 9).map((x) => x * 1e-30),
  '1e30': (tokens) => normals(tokens * INPUTS, 10).map((x) => x * 1e30),
  'NaN in one place': (tokens) => normals(tokens * INPUTS, 11).map((x, i) => (i === 50 % (tokens * INPUTS) ? NaN : x)),
  'Infinity in one place': (tokens) => normals(tokens * INPUTS, 12).map((x, i) => (i === 3 ? Infinity : x)),
}
/** Those that no numbers can come of. */
const REFUSED = ['1e30', 'NaN in one place', 'Infinity in one place']
/** H keeps few of its bits: the solver may refuse it, by name. */
const DOUBTFUL = ['squares that are subnormal']

const WEIGHT_KINDS: Readonly<Record<string, () => Float32Array>> = {
  plain: () => normals(OUTPUTS * INPUTS, 20),
  'all zero': () => new Float32Array(OUTPUTS * INPUTS),
  'all equal': () => new Float32Array(OUTPUTS * INPUTS).fill(0.5),
  'zero rows and columns': () =>
    normals(OUTPUTS * INPUTS, 21).map((w, i) => (i % INPUTS < 9 || i < 4 * INPUTS ? 0 : w)),
  subnormal: () => normals(OUTPUTS * INPUTS, 22).map((w) => w * 1e-42),
}

const METHODS: readonly Pick<PruneMatrixOptions, 'method' | 'refine' | 'rounding'>[] = [
  { method: 'sparsegpt', refine: 1 },
  { method: 'sparsegpt', refine: 1, rounding: { bits: 4, groupSize: 32 } },
  { method: 'sparsegpt', rounding: { bits: 8, groupSize: 0 } },
  { method: 'wanda' },
  { method: 'magnitude', rounding: { type: 'f16' } },
]

function squares(numbers: Float32Array): number {
  return numbers.reduce((sum, x) => sum + x * x, 0)
}

function prune(X: Float32Array, W: Float32Array, more: Partial<PruneMatrixOptions>): Promise<PrunedMatrix> {
  return pruneMatrix({
    W: matOf(OUTPUTS, INPUTS, W),
    X: matOf(X.length / INPUTS, INPUTS, X),
    pattern: { kind: 'unstructured', sparsity: 0.5 },
    blas,
    name: 'the matrix',
    ...more,
  })
}

function expectSound({ weights, mask, zeros, lossUndamped, norm }: PrunedMatrix, bound: number): void {
  expect(weights.every(Number.isFinite)).toBe(true)
  expect(Number.isFinite(lossUndamped)).toBe(true)
  // A quadratic form by products in float32: it may fall below 0 by their rounding.
  expect(lossUndamped).toBeGreaterThanOrEqual(-1e-5 * bound - 1e-60)
  expect(Number.isFinite(norm)).toBe(true)
  expect(zeros).toBeGreaterThanOrEqual(OUTPUTS * INPUTS * 0.5)
  let kept = 0
  for (const byte of mask) for (let bit = 0; bit < 8; bit++) kept += (byte >> bit) & 1
  expect(kept).toBe(OUTPUTS * INPUTS - zeros)
}

describe('pruneMatrix() gives finite weights or names what is wrong', () => {
  const cases = Object.keys(INPUT_KINDS).flatMap((inputs) => [1, 96].map((tokens) => ({ inputs, tokens })))

  it.each(cases)('inputs: $inputs, $tokens tokens', async ({ inputs, tokens }) => {
    const X = INPUT_KINDS[inputs]!(tokens)
    for (const weights of Object.keys(WEIGHT_KINDS))
      for (const method of METHODS) {
        const W = WEIGHT_KINDS[weights]!()
        const result = prune(X, W, method)
        const isRefused = DOUBTFUL.includes(inputs) && (await result.catch((error: Error) => error)) instanceof Error
        if (isRefused)
          await expect(result).rejects.toThrow(/^Cannot prune the matrix: its weights left the range of f32/)
        else if (!REFUSED.includes(inputs)) expectSound(await result, (squares(X) / tokens) * squares(W))
        else {
          await expect(result).rejects.toThrow(SolverError)
          await expect(result).rejects.toThrow(
            /Cannot prune with (NaN|-?Infinity) in .*the matrix, row \d+, column \d+/,
          )
        }
      }
  })

  it.each([Number.NaN, Infinity, -Infinity])('weights that hold %d', async (bad) => {
    const W = WEIGHT_KINDS['plain']!()
    W[INPUTS * 3 + 5] = bad
    const result = prune(INPUT_KINDS['plain']!(60), W, { method: 'sparsegpt' })
    await expect(result).rejects.toThrow(`Cannot prune with ${bad} in the matrix, row 3, column 5`)
  })

  it('weights that overflow what they are stored as', async () => {
    const W = WEIGHT_KINDS['plain']!().map((w) => w * 1e10)
    const f16 = { method: 'sparsegpt', rounding: { type: 'f16' } } as const
    await expect(prune(INPUT_KINDS['plain']!(60), W, f16)).rejects.toThrow(/does not fit f16/)
  })
})

describe('pruneMatrix() does not depend on the unit of its inputs', () => {
  // Powers of 2 only move exponents: every number of the solver is multiplied by the same.
  it.each([2 ** 40, 2 ** -40])('inputs times %d give the same weights and mask', async (scale) => {
    const X = INPUT_KINDS['plain']!(96)
    const W = WEIGHT_KINDS['plain']!()
    const one = await prune(X, W, { method: 'sparsegpt', refine: 1 })
    const other = await prune(
      X.map((x) => x * scale),
      W,
      { method: 'sparsegpt', refine: 1 },
    )
    expect(other.mask).toEqual(one.mask)
    expect(other.weights).toEqual(one.weights)
  })
})
