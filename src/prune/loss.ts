import { ShapeError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'

/** Rows of Δ multiplied at a time: bounds the memory of the product. */
const ROWS = 512

/** tr(ΔHΔᵀ), Δ = W − Ŵ, and tr(WHWᵀ); with H = 2/n · Σxxᵀ twice the mean squared error and norm of the outputs. */
export type ReconstructionLoss = { readonly loss: number; readonly norm: number }

/**
 * What pruning W to `pruned`, both (outputs, inputs), does to the outputs, by H (inputs, inputs) as given: the undamped
 * H for a loss to report. Sums in double precision over products in single. Throws ShapeError when lengths do not fit.
 */
export async function reconstructionLoss(
  blas: Blas,
  W: Float32Array,
  pruned: Float32Array,
  H: Float32Array,
  outputs: number,
  inputs: number,
): Promise<ReconstructionLoss> {
  if (W.length !== outputs * inputs || pruned.length !== W.length || H.length !== inputs * inputs)
    throw new ShapeError(
      `Cannot measure the loss: W has ${W.length} and its pruned form ${pruned.length} weights, H ${H.length} numbers, ` +
        `expected (${outputs}, ${inputs}) twice and (${inputs}, ${inputs})`,
    )
  const delta = W.map((w, i) => w - pruned[i]!)
  return {
    loss: await quadratic(blas, delta, H, outputs, inputs),
    norm: await quadratic(blas, W, H, outputs, inputs),
  }
}

/** tr(A H Aᵀ), A (outputs, inputs). */
async function quadratic(
  blas: Blas,
  A: Float32Array,
  H: Float32Array,
  outputs: number,
  inputs: number,
): Promise<number> {
  const product = new Float32Array(Math.min(ROWS, outputs) * inputs)
  let sum = 0
  for (let begin = 0; begin < outputs; begin += ROWS) {
    const rows = Math.min(ROWS, outputs - begin)
    const some = A.subarray(begin * inputs, (begin + rows) * inputs)
    const AH = product.subarray(0, rows * inputs)
    await blas.gemm(rows, inputs, inputs, some, H, AH)
    for (let i = 0; i < AH.length; i++) sum += AH[i]! * some[i]!
  }
  return sum
}
