import { ShapeError, SolverError } from '../errors.ts'
import { GramAccumulator } from '../linalg/gram.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import { magnitude, wanda } from './baselines.ts'
import { reconstructionLoss } from './loss.ts'
import type { Pattern } from './pattern.ts'
import { checkPattern } from './pattern.ts'
import type { Factor } from './sparsegpt.ts'
import { createSolver } from './sparsegpt.ts'

export type PruneMatrixOptions = {
  /** Weights (outputs, inputs); not modified. */
  readonly W: Mat
  /** Inputs of the matrix (tokens, inputs). */
  readonly X: Mat
  readonly pattern: Pattern
  /** Computes the products, e.g. createBlas(2). */
  readonly blas: Blas
  /** @default 'sparsegpt' */
  readonly method?: 'sparsegpt' | 'wanda' | 'magnitude'
  /** λ: λ · mean(diag H) is added to the diagonal of H. @default 0.01 */
  readonly damping?: number
  /** Largest λ that the damping ladder may reach. @default 1 */
  readonly dampingMax?: number
  /** What is being pruned, for messages. @default 'W' */
  readonly name?: string
}

export type PrunedMatrix = {
  /** (outputs, inputs) */
  readonly weights: Float32Array
  /** (outputs, ⌈inputs / 8⌉), bit 0 first, 1 = kept. */
  readonly mask: Uint8Array
  readonly zeros: number
  /** tr(ΔHΔᵀ), Δ = Ŵ − W, H = 2/tokens · XᵀX. */
  readonly lossUndamped: number
  /** The same with the damped H that was factored, dead inputs at 1 + damping; only with 'sparsegpt'. */
  readonly lossDamped?: number
  /** tr(WHWᵀ), H undamped: lossUndamped / norm is the relative squared error of the outputs. */
  readonly norm: number
  /** How H was factored; only with 'sparsegpt'. */
  readonly factor?: Factor
}

/**
 * Prunes one matrix for the inputs X. Throws ShapeError or UsageError where shapes or the pattern do not fit,
 * SolverError for numbers that are not finite or an H that no damping makes positive definite.
 */
export async function pruneMatrix(options: PruneMatrixOptions): Promise<PrunedMatrix> {
  const { W, X, pattern, blas, method = 'sparsegpt', name = 'W' } = options
  if (X.cols !== W.cols || X.rows === 0)
    throw new ShapeError(
      `Cannot prune ${name}: inputs X are (${X.rows}, ${X.cols}), expected at least one row and ${W.cols} columns`,
    )
  checkPattern(pattern, W.cols)
  const H = await hessian(blas, X)
  const measure = (weights: Float32Array, H: Float32Array): Promise<{ loss: number; norm: number }> =>
    reconstructionLoss(blas, W.data, weights, H, W.rows, W.cols)
  if (method !== 'sparsegpt') {
    assertFinite(H, `XᵀX of ${name}`)
    const { weights, mask, zeros } =
      method === 'wanda'
        ? wanda(W.data, W.rows, inputNorms(H, X.rows), pattern)
        : magnitude(W.data, W.rows, W.cols, pattern)
    const { loss, norm } = await measure(weights, H)
    return { weights, mask, zeros, lossUndamped: loss, norm }
  }
  const solver = createSolver(blas, W.cols, W.rows)
  const { damping = 0.01, dampingMax = Math.max(1, damping) } = options
  const factor = await solver.factor(H, W.cols, { damping, dampingMax, name })
  const { weights, mask, zeros } = await solver.prune(W.data, W.rows, pattern, { name })
  const { loss, norm } = await measure(weights, H)
  const damped = await measure(weights, dampedHessian(H, W.cols, factor))
  return { weights, mask, zeros, lossUndamped: loss, lossDamped: damped.loss, norm, factor }
}

/** H = 2/tokens · XᵀX (inputs, inputs). */
async function hessian(blas: Blas, X: Mat): Promise<Float32Array> {
  const sum = new GramAccumulator(blas, X.cols)
  await sum.add(X.data)
  return (await sum.finish()).map((h) => (h * 2) / X.rows)
}

/** H as it was factored. */
function dampedHessian(H: Float32Array, inputs: number, { shift, deadInputs }: Factor): Float32Array {
  const damped = H.slice()
  for (const j of deadInputs) damped[j * inputs + j] = 1
  for (let j = 0; j < inputs; j++) damped[j * inputs + j]! += shift
  return damped
}

/** ‖X_j‖₂ of every input. */
function inputNorms(H: Float32Array, tokens: number): Float32Array {
  const inputs = Math.sqrt(H.length)
  return Float32Array.from({ length: inputs }, (_, j) => Math.sqrt((H[j * inputs + j]! * tokens) / 2))
}

function assertFinite(A: Float32Array, name: string): void {
  const bad = A.findIndex((a) => !Number.isFinite(a))
  if (bad >= 0) throw new SolverError(`Cannot prune: ${A[bad]} in ${name}, expected finite numbers`)
}
