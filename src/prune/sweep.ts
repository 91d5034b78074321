import { SolverError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Panel } from './factor.ts'
import type { Pattern } from './pattern.ts'
import { COLUMN_BLOCK } from './pattern.ts'
import { LEAF } from './schedule.ts'
import type { Workspace } from './workspace.ts'
import { rowsOf } from './workspace.ts'

/**
 * Prunes one panel of columns (Algorithm 1 of arXiv 2301.00774, left-looking between panels, right-looking within).
 * D = W − Ŵ of the panel takes the place of its weights, the pruned weights are left in `current`, the mask bits set.
 * Returns Σ err². Throws SolverError when weights leave the range of f32.
 */
export async function sweepPanel(space: Workspace, panel: Panel, blas: Blas, pattern: Pattern): Promise<number> {
  const { ld, D, current, removed } = space
  const width = panel.end - panel.begin
  const W = rowsOf(space, current, 0, width)
  W.set(rowsOf(space, D, panel.begin, panel.end))
  if (panel.begin > 0)
    await blas.gemm(width, ld, panel.begin, panel.Gt, rowsOf(space, D, 0, panel.begin), W, { beta: 1 })
  let loss = 0
  let threshold = 0
  for (const [i, step] of panel.steps.entries()) {
    if (step.kind === 'update') {
      const { begin, middle, end } = step
      const d = rowsOf(space, removed, begin, middle)
      const right = rowsOf(space, current, middle, end)
      await blas.gemm(end - middle, ld, middle - begin, panel.updates[i]!, d, right, { alpha: -1, beta: 1 })
      continue
    }
    if (pattern.kind === 'unstructured') {
      if (step.begin % COLUMN_BLOCK === 0) threshold = selectThreshold(space, panel, step.begin, pattern.sparsity)
    } else if (pattern.m > LEAF) {
      threshold = 0.5 // markHighest writes 0 and 1
      if (step.begin % pattern.m === 0) markGroup(space, panel, step.begin, pattern)
    }
    loss += prune(space, panel, step.begin, step.end, pattern, threshold)
  }
  return loss
}

/** Scores the column block that begins at column `begin` of the panel; the weights at or below the result go. */
function selectThreshold(space: Workspace, panel: Panel, begin: number, sparsity: number): number {
  const { wasm, outputs, ld } = space
  const rows = Math.min(COLUMN_BLOCK, panel.end - panel.begin - begin)
  // The padding outputs score 0: they come first and shift the rank.
  const rank = Math.floor(rows * outputs * sparsity) + rows * (ld - outputs)
  const threshold = wasm.exports.scoreAndSelect(
    space.current + 4 * begin * ld,
    space.scores,
    rows,
    ld,
    space.diagonal + 4 * (panel.begin + begin),
    rank,
    space.bins,
  )
  // NaN scores are the last in the order of bit patterns, so a finite threshold has only finite numbers below it.
  if (!Number.isFinite(threshold))
    throw new SolverError(
      `Cannot rank the weights of inputs ${panel.begin + begin} and on: scores left the range of f32`,
    )
  return threshold
}

function markGroup(space: Workspace, panel: Panel, begin: number, { n, m }: { n: number; m: number }): void {
  const { wasm, current, scores, diagonal, ld } = space
  const M = diagonal + 4 * (panel.begin + begin)
  wasm.exports.markHighest(current + 4 * begin * ld, scoreRow(space, begin, scores), m, n, ld, M)
}

/** Scores of column `begin` of the panel: they are kept for one column block at a time. */
function scoreRow({ ld }: Workspace, begin: number, scores: number): number {
  return scores + 4 * (begin % COLUMN_BLOCK) * ld
}

/** Columns [begin, end) of the panel, at most LEAF, in one kernel call. */
function prune(
  space: Workspace,
  panel: Panel,
  begin: number,
  end: number,
  pattern: Pattern,
  threshold: number,
): number {
  const { wasm, ld } = space
  const column = panel.begin + begin
  const isSmallGroup = pattern.kind === 'n:m' && pattern.m <= LEAF
  return wasm.exports.eliminate(
    space.current + 4 * begin * ld,
    space.D + 4 * column * ld,
    space.removed + 4 * begin * ld,
    end - begin,
    ld,
    space.leaves + 4 * column * LEAF,
    scoreRow(space, begin, space.scores),
    threshold,
    space.diagonal + 4 * column,
    isSmallGroup ? pattern.n : 0,
    isSmallGroup ? pattern.m : 0,
    space.mask + 4 * (column / LEAF),
    space.maskStride,
    space.scratch,
  )
}
