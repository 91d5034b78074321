import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { ShapeError, SolverError, UsageError } from '../../src/errors.ts'
import type { Pattern } from '../../src/prune/pattern.ts'
import type { Solver } from '../../src/prune/sparsegpt.ts'
import { createSolver } from '../../src/prune/sparsegpt.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import { naiveSparsegpt, quadraticLoss, randomProblem, relativeError, unpackMask } from './naive.ts'

let solver: Solver
beforeAll(async () => {
  solver = createSolver(await createBlas(1), 1024, 1024)
})

const half: Pattern = { kind: 'unstructured', sparsity: 0.5 }

describe('prune() agrees with the published column loop in double precision', () => {
  // outputs, inputs, tokens: column blocks, panels, leaves, groups of 4 and tiles of 16 all with and without remainders;
  // fewer tokens than inputs; more outputs than one slab holds.
  it.each<[number, number, number, Pattern]>([
    [48, 160, 400, half],
    [33, 300, 700, { kind: 'unstructured', sparsity: 0.7 }],
    [17, 257, 600, { kind: 'unstructured', sparsity: 0.9 }],
    [20, 576, 300, { kind: 'unstructured', sparsity: 0.7 }],
    [1, 1, 3, half],
    [3, 2, 9, half],
    [5, 7, 30, { kind: 'unstructured', sparsity: 0.3 }],
    [16, 35, 80, { kind: 'unstructured', sparsity: 0.01 }],
    [1001, 140, 300, { kind: 'unstructured', sparsity: 0.7 }],
    [700, 64, 200, { kind: 'n:m', n: 2, m: 4 }],
    [24, 128, 300, { kind: 'n:m', n: 2, m: 4 }],
    [31, 264, 500, { kind: 'n:m', n: 4, m: 8 }],
    [9, 140, 300, { kind: 'n:m', n: 3, m: 4 }],
    [10, 54, 200, { kind: 'n:m', n: 1, m: 2 }],
    [6, 192, 400, { kind: 'n:m', n: 24, m: 32 }],
    [6, 192, 400, { kind: 'n:m', n: 20, m: 64 }],
    [4, 384, 800, { kind: 'n:m', n: 100, m: 128 }],
  ])('%i x %i, %i tokens, %o', async (outputs, inputs, tokens, pattern) => {
    const { W, H } = randomProblem(outputs, inputs, tokens, outputs * inputs)
    const wanted = naiveSparsegpt(W, outputs, H, inputs, pattern)
    await solver.factor(H, inputs)
    const got = await solver.prune(W, outputs, pattern)
    const kept = unpackMask(got.mask, outputs, inputs)
    expect(kept).toEqual(wanted.kept)
    expect(relativeError(got.weights, wanted.weights)).toBeLessThan(2e-5)
    expect(Math.abs(got.loss / wanted.loss - 1)).toBeLessThan(1e-5)
    expect(got.zeros).toBe(kept.reduce((zeros, keep) => zeros + 1 - keep, 0))
    // A pruned weight is exactly 0.
    kept.forEach((keep, at) => keep || expect(got.weights[at]).toBe(0))
  })

  // Several groups of columns, with panels of one and of two column blocks. The twin would take minutes, so: as many
  // zeros in every column block as wanted, and a loss that is tr(ΔHΔᵀ), which every wrong update would break.
  it.each([1100, 2300])('4 x %i, judged by its loss', async (inputs) => {
    const outputs = 4
    const { W } = randomProblem(outputs, inputs, 1, 5)
    // Inputs interact with their neighbours 1, 37 and 700 further.
    const H = new Float32Array(inputs * inputs)
    for (let j = 0; j < inputs; j++) H[j * inputs + j] = 2 + (j % 5)
    for (const [step, h] of [
      [1, 0.5],
      [37, -0.3],
      [700, 0.4],
    ] as const)
      for (let j = step; j < inputs; j++) H[j * inputs + j - step] = H[(j - step) * inputs + j] = h
    const big = createSolver(await createBlas(1), inputs, outputs)
    const { shift } = await big.factor(H, inputs)
    const damped = Float64Array.from(H, (h, at) => (at % (inputs + 1) === 0 ? h + shift : h))
    for (const pattern of [half, { kind: 'n:m', n: 2, m: 4 }] as const) {
      const got = await big.prune(W, outputs, pattern)
      const kept = unpackMask(got.mask, outputs, inputs)
      for (let first = 0; first < inputs; first += 128) {
        const columns = Math.min(128, inputs - first)
        let zeros = 0
        for (let i = 0; i < outputs; i++)
          for (let j = first; j < first + columns; j++) zeros += 1 - kept[i * inputs + j]!
        expect(zeros).toBe((outputs * columns) / 2 + (pattern.kind === 'unstructured' ? 1 : 0))
      }
      const exact = quadraticLoss(W, got.weights, damped, outputs, inputs)
      expect(Math.abs(got.loss / exact - 1)).toBeLessThan(1e-5)
      // Compensation has paid: plain zeroing of the same weights costs more.
      const zeroed = W.map((w, at) => (kept[at] ? w : 0))
      expect(got.loss).toBeLessThan(quadraticLoss(W, zeroed, damped, outputs, inputs))
    }
  })
})

describe('prune() properties', () => {
  const shape = fc.record({
    outputs: fc.integer({ min: 1, max: 40 }),
    inputs: fc.integer({ min: 1, max: 50 }),
    sparsity: fc.double({ min: 0.01, max: 0.99, noNaN: true }),
    seed: fc.integer({ min: 1, max: 1e6 }),
  })

  it('loss is tr(ΔHΔᵀ), H damped', async () => {
    await fc.assert(
      fc.asyncProperty(shape, async ({ outputs, inputs, sparsity, seed }) => {
        const { W, H } = randomProblem(outputs, inputs, 2 * inputs, seed)
        const factor = await solver.factor(H, inputs)
        const got = await solver.prune(W, outputs, { kind: 'unstructured', sparsity })
        const damped = Float64Array.from(H, (h, at) => h + (at % (inputs + 1) === 0 ? factor.shift : 0))
        const exact = quadraticLoss(W, got.weights, damped, outputs, inputs)
        // Δ carries rounding errors of about 1e-6 of the largest weight, and H a condition number of about 1000.
        expect(Math.abs(got.loss - exact)).toBeLessThanOrEqual(1e-4 * exact + 1e-9)
      }),
      { numRuns: 60 },
    )
  })

  it('n:m leaves exactly m − n in every group', async () => {
    const groups = fc.constantFrom([1, 2], [2, 4], [1, 4], [4, 8], [5, 8], [12, 16])
    await fc.assert(
      fc.asyncProperty(shape, groups, async ({ outputs, inputs: count, seed }, [n, m]) => {
        const inputs = m! * Math.ceil(count / 4)
        const { W, H } = randomProblem(outputs, inputs, 20, seed)
        // Equal weights: ties must not remove more or fewer.
        if (seed % 3 === 0) W.fill(1)
        await solver.factor(H, inputs, { dampingMax: 10 })
        const { mask } = await solver.prune(W, outputs, { kind: 'n:m', n: n!, m: m! })
        const kept = unpackMask(mask, outputs, inputs)
        for (let at = 0; at < kept.length; at += m!)
          expect(kept.slice(at, at + m!).reduce((sum, keep) => sum + keep, 0)).toBe(m! - n!)
      }),
      { numRuns: 40 },
    )
  })

  it('unstructured removes ⌊count · sparsity⌋ + 1 of every column block when there are no ties', async () => {
    const [outputs, inputs, sparsity] = [37, 300, 0.63]
    const { W, H } = randomProblem(outputs, inputs, 500, 3)
    await solver.factor(H, inputs)
    const { zeros } = await solver.prune(W, outputs, { kind: 'unstructured', sparsity })
    const perBlock = [128, 128, 44].map((width) => Math.floor(width * outputs * sparsity) + 1)
    expect(zeros).toBe(perBlock.reduce((sum, count) => sum + count, 0))
  })

  it('with H = I keeps the largest weights unchanged', async () => {
    const [outputs, inputs] = [8, 64]
    const { W } = randomProblem(outputs, inputs, 1, 9)
    const H = Float32Array.from({ length: inputs * inputs }, (_, at) => (at % (inputs + 1) === 0 ? 1 : 0))
    await solver.factor(H, inputs)
    const { weights } = await solver.prune(W, outputs, half)
    const threshold = W.map(Math.abs).toSorted()[W.length / 2]!
    expect(weights).toEqual(W.map((w) => (Math.abs(w) <= threshold ? 0 : w)))
  })
})

describe('prune() edges', () => {
  it('sparsity 0 returns the same bits, dead inputs included', async () => {
    const { W, H, outputs, inputs } = randomProblem(5, 11, 30, 1)
    for (let j = 0; j < inputs; j++) H[3 * inputs + j] = H[j * inputs + 3] = 0
    await solver.factor(H, inputs)
    const got = await solver.prune(W, outputs, { kind: 'unstructured', sparsity: 0 })
    expect(got.weights).toEqual(W)
    expect(got.weights).not.toBe(W)
    expect(unpackMask(got.mask, outputs, inputs).every((keep) => keep === 1)).toBe(true)
    expect(got.mask.every((byte, at) => at % 2 === 0 || byte < 8)).toBe(true)
    expect([got.zeros, got.loss]).toEqual([0, 0])
  })

  it('dead inputs lose their weights and cost nothing', async () => {
    const { W, H, outputs, inputs } = randomProblem(12, 40, 90, 2)
    for (const dead of [0, 17, 39]) for (let j = 0; j < inputs; j++) H[dead * inputs + j] = H[j * inputs + dead] = 0
    const factor = await solver.factor(H, inputs)
    expect([...factor.deadInputs]).toEqual([0, 17, 39])
    const got = await solver.prune(W, outputs, half)
    const wanted = naiveSparsegpt(W, outputs, H, inputs, half)
    expect(unpackMask(got.mask, outputs, inputs)).toEqual(wanted.kept)
    expect(Math.abs(got.loss / wanted.loss - 1)).toBeLessThan(1e-5)
    for (let i = 0; i < outputs; i++) for (const j of [0, 17, 39]) expect(got.weights[i * inputs + j]).toBe(0)
  })

  it('gives the same bytes again, after another matrix, and beside one that shares the factor', async () => {
    const a = randomProblem(40, 200, 300, 4)
    const b = randomProblem(64, 200, 300, 5)
    const run = async (): Promise<Awaited<ReturnType<Solver['prune']>>> => {
      await solver.factor(a.H, a.inputs)
      return solver.prune(a.W, a.outputs, half)
    }
    const first = await run()
    await solver.prune(b.W, b.outputs, half)
    const beside = await solver.prune(a.W, a.outputs, half)
    const other = createSolver(await createBlas(2), 200, 64)
    await other.factor(a.H, a.inputs)
    expect(beside).toEqual(first)
    expect(await run()).toEqual(first)
    expect(await other.prune(a.W, a.outputs, half)).toEqual(first)
  })

  it('does not modify W and H', async () => {
    const { W, H, outputs, inputs } = randomProblem(20, 150, 60, 6)
    const [W0, H0] = [W.slice(), H.slice()]
    await solver.factor(H, inputs)
    await solver.prune(W, outputs, half)
    expect(W).toEqual(W0)
    expect(H).toEqual(H0)
  })

  it('takes weights far from 1', async () => {
    for (const scale of [1e-30, 1e25]) {
      const { W, H, outputs, inputs } = randomProblem(16, 130, 300, 7)
      await solver.factor(H, inputs)
      const plain = await solver.prune(W, outputs, half)
      const scaled = await solver
        .prune(
          W.map((w) => w * scale),
          outputs,
          half,
        )
        .catch((error: unknown) => error)
      // Scores |w|·M_jj neither overflow nor vanish; the squared errors of 1e25 do overflow, and say so.
      if (scale > 1) expect(scaled).toBeInstanceOf(SolverError)
      else expect((scaled as typeof plain).mask).toEqual(plain.mask)
    }
  })
})

describe('factor()', () => {
  it('climbs the ladder and records every try', async () => {
    // Eigenvalues 1 and −0.5 of pairs: positive definite once the damping exceeds 0.5.
    const inputs = 20
    const H = new Float32Array(inputs * inputs)
    for (let j = 0; j < inputs; j++) {
      H[j * inputs + j] = 1
      H[j * inputs + (j ^ 1)] = 1.5
    }
    const factor = await solver.factor(H, inputs)
    expect(factor).toMatchObject({ damping: 1, tried: [0.01, 0.1, 1], factorizations: 3 })
    expect(factor.shift).toBeCloseTo(1, 6)
    await expect(solver.factor(H, inputs, { dampingMax: 0.9, name: 'layer 3 gate_proj' })).rejects.toThrow(
      /^Cannot factor H of layer 3 gate_proj: pivot -\d.* at input \d+ with damping 0\.01, 0\.1: raise --damping-max/,
    )
  })

  it('names the pivot of the last try', async () => {
    const H = Float32Array.from([1, 0, 0, -4])
    await expect(solver.factor(H, 2, { dampingMax: 0.01 })).rejects.toThrow(/pivot -4\.0\d+ at input 1 with/)
  })

  it('refuses numbers that are not finite, naming them', async () => {
    const { W, H, outputs, inputs } = randomProblem(6, 10, 30, 8)
    const badH = H.slice()
    badH[3 * inputs + 7] = badH[7 * inputs + 3] = NaN
    await expect(solver.factor(badH, inputs, { name: 'up_proj' })).rejects.toThrow(
      'Cannot prune with NaN in H of up_proj, row 3, column 7',
    )
    await solver.factor(H, inputs)
    for (const bad of [NaN, Infinity, -Infinity])
      for (const pattern of [half, { kind: 'unstructured', sparsity: 0 } as const]) {
        const badW = W.with(23, bad)
        await expect(solver.prune(badW, outputs, pattern, { name: 'up_proj' })).rejects.toThrow(
          new SolverError(`Cannot prune with ${bad} in up_proj, row 2, column 3: expected finite numbers`),
        )
      }
  })

  it('refuses wrong shapes, patterns and dampings', async () => {
    const { W, H, outputs, inputs } = randomProblem(6, 10, 30, 8)
    await expect(solver.factor(H, 9)).rejects.toThrow(ShapeError)
    await expect(solver.factor(new Float32Array(1025 * 1025), 1025)).rejects.toThrow(/at most 1024 inputs/)
    await expect(solver.factor(H, inputs, { damping: 0 })).rejects.toThrow(UsageError)
    await expect(solver.factor(H, inputs, { damping: 2 })).rejects.toThrow(UsageError)
    const fresh = createSolver(await createBlas(1), inputs, outputs)
    await expect(fresh.prune(W, outputs, half)).rejects.toThrow(/factor\(\) comes first/)
    await solver.factor(H, inputs)
    await expect(solver.prune(W, outputs + 1, half)).rejects.toThrow(ShapeError)
    await expect(solver.prune(W, outputs, { kind: 'n:m', n: 2, m: 4 })).rejects.toThrow(ShapeError)
    await expect(solver.prune(W, outputs, { kind: 'unstructured', sparsity: 1 })).rejects.toThrow(UsageError)
  })
})
