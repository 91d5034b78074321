import { expect, it } from 'vitest'
import { ShapeError } from '../../src/errors.ts'
import { outputNorm, reconstructionLoss, undampedLoss, weightGram } from '../../src/prune/loss.ts'
import { createSolver } from '../../src/prune/sparsegpt.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import { quadraticLoss, randomProblem } from './naive.ts'

it('reconstructionLoss() is tr(ΔHΔᵀ) and tr(WHWᵀ), over more rows than one product takes', async () => {
  const { W, H, outputs, inputs } = randomProblem(700, 18, 40, 1)
  const pruned = W.map((w, at) => (at % 3 === 0 ? 0 : w))
  const { loss, norm } = await reconstructionLoss(await createBlas(1), W, pruned, H, outputs, inputs)
  expect(Math.abs(loss / quadraticLoss(W, pruned, H, outputs, inputs) - 1)).toBeLessThan(1e-6)
  expect(Math.abs(norm / quadraticLoss(W, new Float32Array(W.length), H, outputs, inputs) - 1)).toBeLessThan(1e-6)
})

it('outputNorm() of weightGram() is tr(WHWᵀ)', async () => {
  const { W, H, outputs, inputs } = randomProblem(30, 25, 60, 2)
  const norm = outputNorm(await weightGram(await createBlas(1), W, outputs, inputs), H)
  expect(Math.abs(norm / quadraticLoss(W, new Float32Array(W.length), H, outputs, inputs) - 1)).toBeLessThan(1e-6)
})

it('undampedLoss() turns the loss of the solver into tr(ΔHΔᵀ) with H undamped, dead inputs or not', async () => {
  const { W, H, outputs, inputs } = randomProblem(30, 90, 400, 3)
  for (let j = 0; j < inputs; j++) H[5 * inputs + j] = H[j * inputs + 5] = 0
  const solver = createSolver(await createBlas(1), inputs, outputs)
  const factor = await solver.factor(H, inputs)
  const { weights, loss } = await solver.prune(W, outputs, { kind: 'unstructured', sparsity: 0.7 })
  const got = undampedLoss(loss, W, weights, factor, inputs)
  expect(Math.abs(got / quadraticLoss(W, weights, H, outputs, inputs) - 1)).toBeLessThan(1e-5)
})

it('reconstructionLoss() refuses shapes that do not fit', async () => {
  const W = new Float32Array(6)
  const blas = await createBlas(1)
  await expect(reconstructionLoss(blas, W, W, new Float32Array(4), 2, 3)).rejects.toThrow(ShapeError)
})
