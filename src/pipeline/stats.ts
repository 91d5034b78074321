import type { ModelConfig } from '../model/config.ts'
import type { MatrixName, SolveResult } from './jobs.ts'
import type { Pruned } from './prune-block.ts'
import type { MatrixStats } from './types.ts'

/** Statistics of one matrix over its experts; errors of experts are weighted by their tokens. */
export function matrixStats(
  { hidden, ff }: Pick<ModelConfig, 'hidden' | 'ff'>,
  matrix: MatrixName,
  tokens: readonly number[],
  pruned: Pruned,
): MatrixStats {
  const results = pruned.experts.map((result) => result[matrix]!)
  // loss and norm are per token (H = 2/n · Σ x xᵀ): tokens make them sums again.
  const total = (of: (result: SolveResult) => number): number =>
    results.reduce((sum, r, e) => sum + tokens[e]! * of(r), 0)
  return {
    matrix,
    sparsity: results.reduce((zeros, r) => zeros + r.zeros, 0) / (results.length * hidden * ff),
    error: relativeError(
      total((r) => r.loss),
      total((r) => r.norm),
    ),
    baselineError: relativeError(pruned.baseline[matrix]!.loss, pruned.baseline[matrix]!.norm),
    experts: results.map((r, e) => ({
      tokens: tokens[e]!,
      error: relativeError(r.loss, r.norm),
      damping: r.damping,
      factorizations: r.factorizations,
      deadInputs: r.deadInputs,
    })),
  }
}

function relativeError(loss: number, norm: number): number {
  return norm > 0 ? Math.sqrt(Math.max(0, loss) / norm) : 0
}
