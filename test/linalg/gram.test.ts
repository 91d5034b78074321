import fc from 'fast-check'
import { expect, it } from 'vitest'
import { GramAccumulator } from '../../src/linalg/gram.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { createBlas } from '../../src/runtime/blas.ts'

function random(length: number, seed: number): Float32Array {
  const rng = createRng(seed)
  return Float32Array.from({ length }, () => rng.normal())
}

/** XᵀX in double precision. */
function naive(X: Float32Array, rows: number, cols: number): Float64Array {
  const S = new Float64Array(cols * cols)
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < cols; i++)
      for (let j = 0; j < cols; j++) S[i * cols + j]! += X[r * cols + i]! * X[r * cols + j]!
  return S
}

// Widths below, at and above one panel; rows below and above one product of 2048.
it.each([
  [1, 1],
  [7, 5],
  [300, 384],
  [2100, 40],
  [150, 385],
  [60, 800],
])('GramAccumulator of (%i, %i) equals the triple loop', async (rows, cols) => {
  const X = random(rows * cols, rows)
  const gram = new GramAccumulator(await createBlas(1), cols)
  await gram.add(X)
  const S = await gram.finish()
  const wanted = naive(X, rows, cols)
  let worst = 0
  let asymmetry = 0
  for (let i = 0; i < cols; i++)
    for (let j = 0; j < cols; j++) {
      worst = Math.max(worst, Math.abs(S[i * cols + j]! - wanted[i * cols + j]!))
      asymmetry = Math.max(asymmetry, Math.abs(S[i * cols + j]! - S[j * cols + i]!))
    }
  // Sums of `rows` products of order 1 in single precision.
  expect(worst).toBeLessThan(2e-6 * rows + 1e-6)
  expect(asymmetry).toBe(0)
})

it('GramAccumulator gives the same bytes however the rows are cut', async () => {
  const blas = await createBlas(1)
  const [rows, cols] = [3000, 24]
  const X = random(rows * cols, 1)
  const whole = new GramAccumulator(blas, cols)
  await whole.add(X)
  const wanted = await whole.finish()
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: rows - 1 }), { maxLength: 4 }), async (cuts) => {
      const pieces = new GramAccumulator(blas, cols)
      const ends = [...new Set([...cuts, rows])].sort((a, b) => a - b)
      for (const [i, end] of ends.entries()) await pieces.add(X.subarray((ends[i - 1] ?? 0) * cols, end * cols))
      expect(await pieces.finish()).toEqual(wanted)
    }),
    { numRuns: 10 },
  )
})
