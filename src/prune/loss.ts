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

/** WᵀW (inputs, inputs): with it tr(W H Wᵀ) of any H costs one pass over H. */
export async function weightGram(blas: Blas, W: Float32Array, outputs: number, inputs: number): Promise<Float32Array> {
  const G = new Float32Array(inputs * inputs)
  await blas.gemm(inputs, inputs, outputs, W, W, G, { transA: true })
  return G
}

/** tr(W H Wᵀ) = Σ (WᵀW)_ij H_ij. */
export function outputNorm(G: Float32Array, H: Float32Array): number {
  let sum = 0
  for (let i = 0; i < G.length; i++) sum += G[i]! * H[i]!
  return sum
}

/**
 * tr(Δ H Δᵀ) with H undamped, from the solver's loss: the damped one is larger by shift · ‖Δ‖² over live inputs (dead ones
 * cost nothing). `shift` is what damping added to the diagonal of H.
 */
export function undampedLoss(
  dampedLoss: number,
  W: Float32Array,
  pruned: Float32Array,
  { shift, deadInputs }: { readonly shift: number; readonly deadInputs: Uint32Array },
  inputs: number,
): number {
  let square = squareDistance(W, pruned, 0, 1)
  for (const j of deadInputs) square -= squareDistance(W, pruned, j, inputs)
  return Math.max(0, dampedLoss - shift * square)
}

/** Σ (A − B)² over every step-th element from `start`. */
function squareDistance(A: Float32Array, B: Float32Array, start: number, step: number): number {
  let sum = 0
  for (let at = start; at < A.length; at += step) {
    const d = A[at]! - B[at]!
    sum += d * d
  }
  return sum
}
