import { ShapeError, SolverError, UsageError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'
import { Factorizer } from './factor.ts'
import { assertFinite } from './finite.ts'
import type { Grid } from './grid.ts'
import { checkGrid } from './grid.ts'
import { fullMask } from './mask.ts'
import type { DampedHessian } from './refine.ts'
import { refineWeights } from './refine.ts'
import type { Triangular } from './operands.ts'
import type { Pattern } from './pattern.ts'
import { checkPattern } from './pattern.ts'
import { chooseRowScales } from './scales.ts'
import { sweepGroup } from './sweep.ts'
import type { Workspace } from './workspace.ts'
import { loadWeights, packMask, reserveWorkspace, storeScales, storeWeights } from './workspace.ts'

export type FactorOptions = {
  /** λ: λ · mean(diag H) is added to the diagonal. @default 0.01 */
  readonly damping?: number
  /** Largest λ that the ladder (λ, 10 λ, 100 λ, …) may reach. @default 1 */
  readonly dampingMax?: number
  /** What is being pruned, for messages: 'layer 3 gate_proj expert 7 (212 tokens, 576 inputs)'. @default 'W' */
  readonly name?: string
}

/** How H was factored. */
export type Factor = {
  /** λ that held. */
  readonly damping: number
  /** λ · mean(diag H), the number added to the diagonal. */
  readonly shift: number
  /** Every λ tried, in order; the last one held. */
  readonly tried: readonly number[]
  /** Factorisations computed: tried.length. */
  readonly factorizations: number
  /** Inputs whose diagonal of H is 0: their weights start at 0. */
  readonly deadInputs: Uint32Array
}

export type PruneOptions = {
  /** Kept weights are rounded to this grid, and their errors go through H like those of pruned ones. @default none */
  readonly grid?: Grid
  /** Passes of coordinate descent over the kept weights after the sweep (refine.ts); 0 is SparseGPT. @default 0 */
  readonly refine?: number
  /** As in FactorOptions. @default 'W' */
  readonly name?: string
}

export type PruneOutcome = {
  /** Ŵ (outputs, inputs); with a grid on it, up to the last bits of f32. */
  readonly weights: Float32Array
  /** (outputs, ⌈inputs / 8⌉), bit 0 first, 1 = kept; a kept weight may be 0. */
  readonly mask: Uint8Array
  /** Scales of the grid (outputs, groups), f16 bits; only with a grid. */
  readonly scales?: Uint16Array
  /** Pruned weights. */
  readonly zeros: number
  /** Σ err² = tr(Δ H Δᵀ), Δ = W − Ŵ over live inputs, H damped, no factor ½. */
  readonly loss: number
}

export type Solver = {
  /**
   * Factors H = 2/n · Σ x xᵀ (inputs, inputs), symmetric, row-major, not modified; the factor serves every prune() until
   * the next call, and H must stay as it is until then. Throws SolverError when H is not finite or no damping makes it
   * positive definite, UsageError for a damping that is not positive.
   */
  factor(H: Float32Array, inputs: number, options?: FactorOptions): Promise<Factor>
  /**
   * SparseGPT (Frantar & Alistarh, arXiv 2301.00774, Algorithm 1) for W (outputs, inputs), not modified. Unstructured:
   * per block of 128 columns all weights whose score w²/U_jj² is at most that of rank ⌊count · sparsity⌋ go; n:m: per
   * row and group the n lowest, ties to the lowest column. Sparsity 0 without a grid returns W itself, bit for bit.
   * With `refine` the kept weights move once more, so that the loss falls below that of SparseGPT.
   * Throws SolverError for weights that are not finite, ShapeError where shapes or the pattern do not fit.
   */
  prune(W: Float32Array, outputs: number, pattern: Pattern, options?: PruneOptions): Promise<PruneOutcome>
}

/**
 * A solver for matrices of up to maxIn inputs and maxOut outputs. It keeps the buffers of the largest problem it has
 * seen: 4·inputs² bytes for the factor, 4·inputs·outputs and some kB per output for the sweep. One call at a time.
 */
export function createSolver(blas: Blas, maxIn: number, maxOut: number): Solver {
  const factorizer = new Factorizer(blas)
  let current: Factored | undefined
  let space: Workspace | undefined
  return {
    async factor(H, inputs, options = {}) {
      if (inputs > maxIn || H.length !== inputs * inputs)
        throw new ShapeError(
          `Cannot factor H of ${options.name ?? 'W'}: ${H.length} numbers for ${inputs} inputs, expected ` +
            `${inputs * inputs} and at most ${maxIn} inputs`,
        )
      current = undefined
      current = await climb(factorizer, H, inputs, options)
      return current.factor
    },
    async prune(W, outputs, pattern, { name = 'W', grid, refine = 0 } = {}) {
      if (!current) throw new UsageError(`Cannot prune ${name}: factor() comes first`)
      const { triangular, hessian } = current
      const { inputs } = triangular
      if (outputs > maxOut || W.length !== outputs * inputs)
        throw new ShapeError(
          `Cannot prune ${name}: ${W.length} weights for ${outputs} outputs, expected ${outputs * inputs} and at most ` +
            `${maxOut} outputs`,
        )
      checkPattern(pattern, inputs)
      if (grid) checkGrid(grid)
      else if (pattern.kind === 'unstructured' && pattern.sparsity === 0) return keepAll(W, outputs, inputs, name)
      space = reserveWorkspace(triangular, outputs, grid, space)
      return sweep(space, blas, triangular, W, hessian, pattern, { name, refine })
    },
  }
}

type Factored = { readonly factor: Factor; readonly triangular: Triangular; readonly hessian: DampedHessian }

async function sweep(
  space: Workspace,
  blas: Blas,
  { groups }: Triangular,
  W: Float32Array,
  hessian: DampedHessian,
  pattern: Pattern,
  { name, refine }: Required<Omit<PruneOptions, 'grid'>>,
): Promise<PruneOutcome> {
  const { deadInputs } = hessian
  if (!loadWeights(space, W, deadInputs)) assertFinite(W, space.inputs, name)
  let loss = 0
  if (space.grid?.groupSize === 0) chooseRowScales(space, space.grid)
  for (const group of groups) loss += await sweepGroup(space, group, blas, pattern)
  for (let pass = 0; pass < refine; pass++) loss += await refineWeights(space, blas, hessian, W)
  if (!Number.isFinite(loss))
    throw new SolverError(
      `Cannot prune ${name}: its weights left the range of f32: they or the inputs of the layer are too large or too small`,
    )
  const scales = space.grid ? { scales: storeScales(space, space.grid, name) } : {}
  return { weights: storeWeights(space, W, deadInputs), ...packMask(space), ...scales, loss }
}

/** Factors with the smallest damping of the ladder that holds. */
async function climb(
  factorizer: Factorizer,
  H: Float32Array,
  inputs: number,
  { damping = 0.01, dampingMax = 1, name = 'W' }: FactorOptions,
): Promise<Factored> {
  if (!(damping > 0 && damping <= dampingMax && dampingMax < Infinity))
    throw new UsageError(`Cannot damp H by ${damping} up to ${dampingMax}: expected 0 < damping <= damping-max`)
  const { diagonal, deadInputs } = liveDiagonal(H, inputs)
  const mean = diagonal.reduce((sum, h) => sum + h, 0) / inputs
  const tried: number[] = []
  let failure = ''
  for (let rung = 0; ; rung++) {
    // Not a running product: 0.01 · 10 · 10 would miss 1 by a rounding error.
    const lambda = Number((damping * 10 ** rung).toPrecision(15))
    if (lambda > dampingMax) break
    tried.push(lambda)
    const shift = lambda * mean
    const damped = diagonal.map((h) => h + shift)
    const triangular = await factorizer.factor(H, inputs, damped)
    if ('groups' in triangular) {
      const factor = { damping: lambda, shift, tried, factorizations: tried.length, deadInputs }
      return { factor, triangular, hessian: { H, diagonal: damped, shift, deadInputs } }
    }
    if (rung === 0) assertFinite(H, inputs, `H of ${name}`)
    failure = `pivot ${triangular.pivot} at input ${triangular.column}`
  }
  throw new SolverError(
    `Cannot factor H of ${name}: ${failure} with damping ${tried.join(', ')}: raise --damping-max or calibrate on more ` +
      `tokens`,
  )
}

/** diag H with 1 for inputs that were always 0: their row of H is 0 too, and would stop the factorisation. */
function liveDiagonal(H: Float32Array, inputs: number): { diagonal: Float64Array; deadInputs: Uint32Array } {
  const diagonal = Float64Array.from({ length: inputs }, (_, j) => H[j * inputs + j]!)
  const deadInputs = Uint32Array.from(diagonal.keys()).filter((j) => diagonal[j] === 0)
  for (const j of deadInputs) diagonal[j] = 1
  return { diagonal, deadInputs }
}

/** Sparsity 0: nothing moves. */
function keepAll(W: Float32Array, outputs: number, inputs: number, name: string): PruneOutcome {
  assertFinite(W, inputs, name)
  return { weights: W.slice(), mask: fullMask(outputs, inputs), zeros: 0, loss: 0 }
}
