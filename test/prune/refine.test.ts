import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Grid } from '../../src/prune/grid.ts'
import { GROUP_SIZES } from '../../src/prune/grid.ts'
import type { Pattern } from '../../src/prune/pattern.ts'
import type { Solver } from '../../src/prune/sparsegpt.ts'
import { createSolver } from '../../src/prune/sparsegpt.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import { fromF16 } from '../../src/tensor/half.ts'
import { naiveRefine, quadraticLoss, randomProblem, relativeError, unpackMask } from './naive.ts'

let solver: Solver
beforeAll(async () => {
  solver = createSolver(await createBlas(1), 1200, 1024)
})

const most: Pattern = { kind: 'unstructured', sparsity: 0.7 }

/** H as it was factored. */
function damped(H: Float32Array, inputs: number, shift: number): Float64Array {
  return Float64Array.from(H, (h, at) => h + (at % (inputs + 1) === 0 ? shift : 0))
}

describe('prune() with refine', () => {
  it.each<[number, number, Pattern]>([
    [48, 160, most],
    [17, 257, most],
    [900, 70, most],
    [5, 7, most],
    [3, 1100, most],
    [24, 128, { kind: 'n:m', n: 2, m: 4 }],
  ])('equals the plain loop in double precision without a grid: %i x %i, %j', async (outputs, inputs, pattern) => {
    const { W, H } = randomProblem(outputs, inputs, inputs > 1000 ? 60 : 2 * inputs + 20, outputs + inputs)
    const { shift } = await solver.factor(H, inputs)
    const before = await solver.prune(W, outputs, pattern)
    for (const refine of [1, 3]) {
      const got = await solver.prune(W, outputs, pattern, { refine })
      expect(got.mask).toEqual(before.mask)
      expect(got.zeros).toBe(before.zeros)
      const kept = unpackMask(before.mask, outputs, inputs)
      const wanted = naiveRefine(W, before.weights, kept, damped(H, inputs, shift), outputs, inputs, refine)
      expect(relativeError(got.weights, wanted)).toBeLessThan(2e-5)
      kept.forEach((keep, at) => keep || expect(got.weights[at]).toBe(0))
      const exact = quadraticLoss(W, got.weights, damped(H, inputs, shift), outputs, inputs)
      expect(Math.abs(got.loss / exact - 1)).toBeLessThan(1e-4)
    }
  })

  it('never loses, stays on the grid, and says what it loses', async () => {
    const problem = fc.record({
      outputs: fc.integer({ min: 1, max: 40 }),
      inputs: fc.integer({ min: 1, max: 200 }),
      sparsity: fc.double({ min: 0, max: 0.99, noNaN: true }),
      bits: fc.constantFrom(4 as const, 8 as const),
      groupSize: fc.constantFrom(...GROUP_SIZES),
      seed: fc.integer({ min: 1, max: 1e6 }),
    })
    await fc.assert(
      fc.asyncProperty(problem, async ({ outputs, inputs, sparsity, bits, groupSize, seed }) => {
        const { W, H } = randomProblem(outputs, inputs, 2 * inputs, seed)
        const grid: Grid = { bits, groupSize }
        const pattern: Pattern = { kind: 'unstructured', sparsity }
        const { shift } = await solver.factor(H, inputs)
        const before = await solver.prune(W, outputs, pattern, { grid })
        const got = await solver.prune(W, outputs, pattern, { grid, refine: 2 })
        expect(got.mask).toEqual(before.mask)
        expect(got.scales).toEqual(before.scales)
        // Sums of f32: a step that changes nothing may cost a rounding error.
        expect(got.loss).toBeLessThanOrEqual(before.loss * (1 + 1e-5) + 1e-9)
        const exact = quadraticLoss(W, got.weights, damped(H, inputs, shift), outputs, inputs)
        expect(Math.abs(got.loss - exact)).toBeLessThanOrEqual(1e-4 * exact + 1e-6)
        expect(stepsOffGrid(got.weights, fromF16(got.scales!), grid, inputs)).toBeLessThan(1e-3)
      }),
      { numRuns: 40 },
    )
  })

  it('takes most of what four bits cost back, and gives the same bytes again', async () => {
    const { W, H, outputs, inputs } = randomProblem(64, 256, 600, 8)
    await solver.factor(H, inputs)
    const grid: Grid = { bits: 4, groupSize: 32 }
    const plain = await solver.prune(W, outputs, most)
    const rounded = await solver.prune(W, outputs, most, { grid })
    const refined = await solver.prune(W, outputs, most, { grid, refine: 1 })
    expect(refined.loss - plain.loss).toBeLessThan((rounded.loss - plain.loss) / 2)
    expect(await solver.prune(W, outputs, most, { grid, refine: 1 })).toEqual(refined)
    expect(await solver.prune(W, outputs, most)).toEqual(plain)
  })

  it('leaves dead inputs at 0', async () => {
    const { W, H, outputs, inputs } = randomProblem(4, 40, 90, 2)
    for (let j = 0; j < inputs; j++) H[17 * inputs + j] = H[j * inputs + 17] = 0
    await solver.factor(H, inputs)
    const { weights } = await solver.prune(W, outputs, most, { refine: 2 })
    for (let i = 0; i < outputs; i++) expect(weights[i * inputs + 17]).toBe(0)
    expect(weights.every(Number.isFinite)).toBe(true)
  })
})

/** Largest distance of a weight from its grid, in steps. */
function stepsOffGrid(weights: Float32Array, scales: Float32Array, { groupSize, bits }: Grid, inputs: number): number {
  const width = groupSize || inputs
  const groups = Math.ceil(inputs / width)
  let worst = 0
  weights.forEach((w, at) => {
    const scale = scales[Math.floor(at / inputs) * groups + Math.floor((at % inputs) / width)]!
    const q = scale > 0 ? w / scale : w
    expect(Math.abs(q)).toBeLessThan(bits === 8 ? 127.5 : 7.5)
    worst = Math.max(worst, Math.abs(q - Math.round(q)))
  })
  return worst
}
