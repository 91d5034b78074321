import { ShapeError } from '../errors.ts'
import { GramAccumulator } from '../linalg/gram.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import { magnitude, wanda } from './baselines.ts'
import { assertFinite } from './finite.ts'
import type { Grid } from './grid.ts'
import { roundToGrid } from './grid.ts'
import type { HalfType } from './halves.ts'
import { fromHalves, halvesOf } from './halves.ts'
import { reconstructionLoss } from './loss.ts'
import type { Pattern } from './pattern.ts'
import { checkPattern } from './pattern.ts'
import type { Factor } from './sparsegpt.ts'
import { createSolver } from './sparsegpt.ts'

/** How kept weights are rounded: to 16-bit floats when all is done, or to a grid while pruning. */
export type Rounding = { readonly type: HalfType } | Grid

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
  /** Rounds the kept weights. @default none: they stay f32 */
  readonly rounding?: Rounding
  /** λ: λ · mean(diag H) is added to the diagonal of H. @default 0.01 */
  readonly damping?: number
  /** Largest λ that the damping ladder may reach. @default 1 */
  readonly dampingMax?: number
  /** Passes of refinement after the sweep, with 'sparsegpt' only. @default 0 */
  readonly refine?: number
  /** What is being pruned, for messages. @default 'W' */
  readonly name?: string
}

/** What a matrix loses: with H = 2/tokens · XᵀX twice the mean squared error of the outputs. */
export type MatrixLoss = {
  /** tr(ΔHΔᵀ), Δ = Ŵ − W, H = 2/tokens · XᵀX. */
  readonly lossUndamped: number
  /** The same with the damped H that was factored, dead inputs at 1 + damping; only with 'sparsegpt'. */
  readonly lossDamped?: number
}

export type PrunedMatrix = MatrixLoss & {
  /** (outputs, inputs), rounded where that was asked for */
  readonly weights: Float32Array
  /** (outputs, ⌈inputs / 8⌉), bit 0 first, 1 = kept. */
  readonly mask: Uint8Array
  readonly zeros: number
  /** Scales of the grid (outputs, groups), f16 bits; only with a grid. */
  readonly scales?: Uint16Array
  /** Kept weights that 16 bits made 0; only with f16 and bf16. */
  readonly underflows?: number
  /** What the same pruning loses when nothing is rounded; only with `rounding`. */
  readonly unrounded?: MatrixLoss
  /** tr(WHWᵀ), H undamped: lossUndamped / norm is the relative squared error of the outputs. */
  readonly norm: number
  /** How H was factored; only with 'sparsegpt'. */
  readonly factor?: Factor
}

/** Weights that are pruned, and rounded if that was asked for. */
type Pruned = Pick<PrunedMatrix, 'weights' | 'mask' | 'zeros' | 'scales' | 'underflows'>
type Method = { readonly prune: (grid?: Grid) => Promise<Pruned>; readonly factor?: Factor }

/**
 * Prunes one matrix for the inputs X. Throws ShapeError or UsageError where shapes, the pattern or the grid do not fit,
 * SolverError for numbers that are not finite or that 16 bits cannot hold, and for an H that no damping makes positive
 * definite.
 */
export async function pruneMatrix(options: PruneMatrixOptions): Promise<PrunedMatrix> {
  const { W, X, pattern, blas, rounding, name = 'W' } = options
  if (X.cols !== W.cols || X.rows === 0)
    throw new ShapeError(
      `Cannot prune ${name}: inputs X are (${X.rows}, ${X.cols}), expected at least one row and ${W.cols} columns`,
    )
  checkPattern(pattern, W.cols)
  const H = await hessian(blas, X)
  const isBaseline = options.method === 'wanda' || options.method === 'magnitude'
  const { prune, factor } = isBaseline ? baseline(options, H) : await sparsegpt(options, H)
  const measure = (weights: Float32Array, H: Float32Array): Promise<{ loss: number; norm: number }> =>
    reconstructionLoss(blas, W.data, weights, H, W.rows, W.cols)
  const damped = factor && dampedHessian(H, W.cols, factor)
  const lossOf = async ({ weights }: Pruned): Promise<MatrixLoss & { norm: number }> => {
    const { loss, norm } = await measure(weights, H)
    return { lossUndamped: loss, ...(damped ? { lossDamped: (await measure(weights, damped)).loss } : {}), norm }
  }
  const plain = await prune()
  const { norm, ...loss } = await lossOf(plain)
  const common = { norm, ...(factor ? { factor } : {}) }
  if (!rounding) return { ...plain, ...loss, ...common }
  const rounded = 'bits' in rounding ? await prune(rounding) : roundedToHalf(plain, rounding.type, name)
  return { ...rounded, ...(await lossOf(rounded)), unrounded: loss, ...common }
}

/** SparseGPT: one factorisation for all that follows. */
async function sparsegpt(options: PruneMatrixOptions, H: Float32Array): Promise<Method> {
  const { W, pattern, blas, damping = 0.01, dampingMax = Math.max(1, damping), refine = 0, name = 'W' } = options
  const solver = createSolver(blas, W.cols, W.rows)
  const factor = await solver.factor(H, W.cols, { damping, dampingMax, name })
  const prune = async (grid?: Grid): Promise<Pruned> => {
    const { loss: _, ...pruned } = await solver.prune(W.data, W.rows, pattern, {
      name,
      refine,
      ...(grid ? { grid } : {}),
    })
    return pruned
  }
  return { prune, factor }
}

/** Wanda or magnitude: rounding is to the nearest, each weight by itself. */
function baseline({ W, X, pattern, method, name = 'W' }: PruneMatrixOptions, H: Float32Array): Method {
  assertFinite(H, W.cols, `XᵀX of ${name}`)
  const masked =
    method === 'wanda'
      ? wanda(W.data, W.rows, inputNorms(H, X.rows), pattern)
      : magnitude(W.data, W.rows, W.cols, pattern)
  const prune = (grid?: Grid): Promise<Pruned> =>
    Promise.resolve(grid ? { ...masked, ...roundToGrid(masked.weights, W.rows, W.cols, grid, name) } : masked)
  return { prune }
}

function roundedToHalf(pruned: Pruned, type: HalfType, name: string): Pruned {
  const { bits, underflows } = halvesOf(pruned.weights, type, name)
  return { ...pruned, weights: fromHalves(bits, type), underflows }
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
