import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { SolverError, UsageError } from '../../src/errors.ts'
import type { Grid } from '../../src/prune/grid.ts'
import { checkGrid, GROUP_SIZES, roundToGrid, scaleGroups } from '../../src/prune/grid.ts'
import type { Pattern } from '../../src/prune/pattern.ts'
import type { Solver } from '../../src/prune/sparsegpt.ts'
import { createSolver } from '../../src/prune/sparsegpt.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import { fromF16 } from '../../src/tensor/half.ts'
import { naiveSparsegpt, quadraticLoss, randomProblem, unpackMask } from './naive.ts'

let solver: Solver
beforeAll(async () => {
  solver = createSolver(await createBlas(1), 1024, 1024)
})

const most: Pattern = { kind: 'unstructured', sparsity: 0.7 }

/** Scale of a weight (i, j). */
function scaleOf(scales: Float32Array, { groupSize }: Grid, inputs: number, i: number, j: number): number {
  const groups = groupSize === 0 ? 1 : Math.ceil(inputs / groupSize)
  return scales[i * groups + (groupSize === 0 ? 0 : Math.floor(j / groupSize))]!
}

/** Largest distance of a weight from its grid in steps, and the largest |q|. */
function gridFit(
  weights: Float32Array,
  scales: Float32Array,
  grid: Grid,
  inputs: number,
): { offGrid: number; largest: number } {
  let [offGrid, largest] = [0, 0]
  weights.forEach((w, at) => {
    const scale = scaleOf(scales, grid, inputs, Math.floor(at / inputs), at % inputs)
    const q = scale > 0 ? w / scale : w
    offGrid = Math.max(offGrid, Math.abs(q - Math.round(q)))
    largest = Math.max(largest, Math.abs(Math.round(q)))
  })
  return { offGrid, largest }
}

describe('prune() with a grid', () => {
  it.each<[number, number, number, Pattern, Grid]>([
    [48, 160, 400, most, { bits: 4, groupSize: 128 }],
    [33, 300, 700, most, { bits: 4, groupSize: 64 }],
    [17, 257, 600, most, { bits: 4, groupSize: 32 }],
    [20, 200, 150, most, { bits: 4, groupSize: 0 }],
    [33, 300, 700, most, { bits: 8, groupSize: 0 }],
    [20, 130, 300, most, { bits: 8, groupSize: 32 }],
    [900, 70, 200, most, { bits: 4, groupSize: 64 }],
    [5, 7, 30, most, { bits: 4, groupSize: 32 }],
    [24, 128, 300, { kind: 'unstructured', sparsity: 0 }, { bits: 4, groupSize: 128 }],
    [40, 300, 700, { kind: 'unstructured', sparsity: 0 }, { bits: 4, groupSize: 32 }],
    [40, 300, 200, { kind: 'unstructured', sparsity: 0 }, { bits: 8, groupSize: 0 }],
    [40, 200, 400, { kind: 'unstructured', sparsity: 0.4 }, { bits: 4, groupSize: 64 }],
    [24, 128, 300, { kind: 'n:m', n: 2, m: 4 }, { bits: 4, groupSize: 32 }],
    [10, 192, 300, { kind: 'n:m', n: 20, m: 64 }, { bits: 4, groupSize: 128 }],
    [10, 192, 300, { kind: 'n:m', n: 20, m: 64 }, { bits: 4, groupSize: 32 }],
  ])('agrees with the published loops in double precision: %i x %i, %i tokens, %j, %j', async (...problem) => {
    const [outputs, inputs, tokens, pattern, grid] = problem
    const { W, H } = randomProblem(outputs, inputs, tokens, outputs * inputs)
    const wanted = naiveSparsegpt(W, outputs, H, inputs, pattern, 0.01, grid)
    await solver.factor(H, inputs)
    const got = await solver.prune(W, outputs, pattern, { grid })
    const kept = unpackMask(got.mask, outputs, inputs)
    const scales = fromF16(got.scales!)
    // Where single and double precision round one weight to different numbers, the rest of its row moves on from there:
    // a step is large, so such rows are few, and they change the loss little.
    const differ = new Set<number>()
    kept.forEach((keep, at) => {
      const i = Math.floor(at / inputs)
      const scale = scaleOf(scales, grid, inputs, i, at % inputs)
      const isOther = Math.abs(got.weights[at]! - wanted.weights[at]!) > scale / 2
      if (keep !== wanted.kept[at] || isOther) differ.add(i)
    })
    expect(differ.size).toBeLessThanOrEqual(Math.ceil(outputs * 0.05))
    expect(Math.abs(got.loss / wanted.loss - 1)).toBeLessThan(2e-3)
    expect(got.zeros).toBe(kept.reduce((zeros, keep) => zeros + 1 - keep, 0))
    kept.forEach((keep, at) => keep || expect(got.weights[at]).toBe(0))
    const { offGrid, largest } = gridFit(got.weights, scales, grid, inputs)
    expect(largest).toBeLessThanOrEqual(grid.bits === 8 ? 127 : 7)
    expect(offGrid).toBeLessThan(1e-3)
  })

  it('loss is tr(ΔHΔᵀ), H damped', async () => {
    const problem = fc.record({
      outputs: fc.integer({ min: 1, max: 40 }),
      inputs: fc.integer({ min: 1, max: 150 }),
      sparsity: fc.double({ min: 0, max: 0.99, noNaN: true }),
      bits: fc.constantFrom(4 as const, 8 as const),
      groupSize: fc.constantFrom(...GROUP_SIZES),
      seed: fc.integer({ min: 1, max: 1e6 }),
    })
    await fc.assert(
      fc.asyncProperty(problem, async ({ outputs, inputs, sparsity, bits, groupSize, seed }) => {
        const { W, H } = randomProblem(outputs, inputs, 2 * inputs, seed)
        const factor = await solver.factor(H, inputs)
        const grid = { bits, groupSize }
        const got = await solver.prune(W, outputs, { kind: 'unstructured', sparsity }, { grid })
        const damped = Float64Array.from(H, (h, at) => h + (at % (inputs + 1) === 0 ? factor.shift : 0))
        const exact = quadraticLoss(W, got.weights, damped, outputs, inputs)
        // Δ carries rounding errors of about 1e-6 of the largest weight, and H a condition number of about 1000.
        expect(Math.abs(got.loss - exact)).toBeLessThanOrEqual(1e-4 * exact + 1e-9)
        expect(got.scales!.length).toBe(outputs * scaleGroups(grid, inputs))
      }),
      { numRuns: 40 },
    )
  })

  it('costs next to nothing with 8 bits, more with 4', async () => {
    const { W, H, outputs, inputs } = randomProblem(64, 256, 600, 8)
    await solver.factor(H, inputs)
    const { loss } = await solver.prune(W, outputs, most)
    const int8 = await solver.prune(W, outputs, most, { grid: { bits: 8, groupSize: 0 } })
    const int4 = await solver.prune(W, outputs, most, { grid: { bits: 4, groupSize: 32 } })
    // Which masks eight bits lead to decides the sign.
    expect(Math.abs(int8.loss / loss - 1)).toBeLessThan(0.01)
    expect(int8.loss).toBeLessThan(int4.loss)
    expect(int4.loss).toBeLessThan(loss * 1.1)
  })

  it('at sparsity 0 is GPTQ: keeps every weight and loses less than rounding each to the nearest', async () => {
    const { W, H, outputs, inputs } = randomProblem(48, 256, 400, 6)
    const { shift } = await solver.factor(H, inputs)
    const damped = Float64Array.from(H, (h, at) => h + (at % (inputs + 1) === 0 ? shift : 0))
    for (const grid of [
      { bits: 8, groupSize: 0 },
      { bits: 4, groupSize: 128 },
      { bits: 4, groupSize: 32 },
    ] as const) {
      const got = await solver.prune(W, outputs, { kind: 'unstructured', sparsity: 0 }, { grid })
      expect(got.zeros).toBe(0)
      const nearest = roundToGrid(W, outputs, inputs, grid, 'W')
      // 8 bits leave room for growth that nothing here needs: their steps are half as large again.
      const factor = grid.bits === 8 ? 1.5 ** 2 : 1
      expect(got.loss).toBeLessThan(factor * quadraticLoss(W, nearest.weights, damped, outputs, inputs))
    }
  })

  it('leaves weights without a grid as they were, before and after', async () => {
    const { W, H, outputs, inputs } = randomProblem(40, 200, 300, 4)
    await solver.factor(H, inputs)
    const before = await solver.prune(W, outputs, most)
    const rounded = await solver.prune(W, outputs, most, { grid: { bits: 4, groupSize: 64 } })
    expect(await solver.prune(W, outputs, most)).toEqual(before)
    expect(before.scales).toBeUndefined()
    expect(await solver.prune(W, outputs, most, { grid: { bits: 4, groupSize: 64 } })).toEqual(rounded)
  })

  it('drops dead inputs, gives rows of zeros a scale of 0, and tiny weights the smallest scale there is', async () => {
    const { W, H, outputs, inputs } = randomProblem(4, 40, 90, 2)
    for (let j = 0; j < inputs; j++) H[17 * inputs + j] = H[j * inputs + 17] = 0
    W.fill(0, inputs, 2 * inputs)
    for (let j = 2 * inputs; j < 3 * inputs; j++) W[j]! *= 1e-8
    await solver.factor(H, inputs)
    const { weights, scales } = await solver.prune(W, outputs, most, { grid: { bits: 8, groupSize: 0 } })
    for (let i = 0; i < outputs; i++) expect(weights[i * inputs + 17]).toBe(0)
    expect(weights.subarray(inputs, 2 * inputs).every((w) => w === 0)).toBe(true)
    expect([...fromF16(scales!)].slice(1, 3)).toEqual([0, 2 ** -24])
  })

  it('refuses grids that no artifact has, and scales beyond f16', async () => {
    const { W, H, outputs, inputs } = randomProblem(4, 40, 90, 2)
    await solver.factor(H, inputs)
    await expect(solver.prune(W, outputs, most, { grid: { bits: 4, groupSize: 16 } })).rejects.toThrow(UsageError)
    const huge = W.map((w) => w * 1e8)
    await expect(
      solver.prune(huge, outputs, most, { grid: { bits: 4, groupSize: 32 }, name: 'layer 3 up_proj' }),
    ).rejects.toThrow(/^Cannot store a scale of layer 3 up_proj: \d+ does not fit f16/)
  })
})

describe('roundToGrid()', () => {
  it('gives every weight the nearest number of its grid', () => {
    const { W } = randomProblem(5, 70, 1, 3)
    for (const bits of [4, 8] as const)
      for (const groupSize of GROUP_SIZES) {
        const grid = { bits, groupSize }
        const { weights, scales: packed } = roundToGrid(W, 5, 70, grid, 'W')
        const scales = fromF16(packed)
        const limit = bits === 8 ? 127 : 7
        W.forEach((w, at) => {
          const scale = scaleOf(scales, grid, 70, Math.floor(at / 70), at % 70)
          const inside = Math.min(limit * scale, Math.abs(w))
          // Half a step, or clipped to the end of the grid; f32 rounding of the product.
          expect(Math.abs(Math.abs(weights[at]!) - inside)).toBeLessThanOrEqual((scale / 2) * (1 + 1e-6))
        })
        expect(gridFit(weights, scales, grid, 70).offGrid).toBeLessThan(1e-5)
      }
  })

  it('keeps weights that lie on a grid of 8 bits', () => {
    const W = Float32Array.from([127, -3, 0, 64, -127, 1], (q) => q * 0.125)
    const { weights, scales } = roundToGrid(W, 2, 3, { bits: 8, groupSize: 0 }, 'W')
    expect([...weights]).toEqual([...W])
    expect([...fromF16(scales)]).toEqual([0.125, 0.125])
  })

  it('does not modify W, refuses scales beyond f16', () => {
    const W = Float32Array.of(1e6, 1)
    expect(() => roundToGrid(W, 1, 2, { bits: 4, groupSize: 0 }, 'gate')).toThrow(SolverError)
    expect([...W]).toEqual([1e6, 1])
  })
})

describe('checkGrid()', () => {
  it('takes 4 and 8 bits in groups of the sizes there are', () => {
    for (const bits of [4, 8] as const)
      for (const groupSize of GROUP_SIZES) expect(() => checkGrid({ bits, groupSize })).not.toThrow()
    expect(() => checkGrid({ bits: 5 as 4, groupSize: 32 })).toThrow(/5 bits in groups of 32/)
    expect(() => checkGrid({ bits: 4, groupSize: 96 })).toThrow(UsageError)
  })
})
