import { SolverError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Panel } from './factor.ts'
import type { Pattern } from './pattern.ts'
import { COLUMN_BLOCK } from './pattern.ts'
import type { Step } from './schedule.ts'
import { LEAF } from './schedule.ts'
import type { Slab, Workspace } from './workspace.ts'
import { rowsOf } from './workspace.ts'

/**
 * Prunes one panel of columns (Algorithm 1 of arXiv 2301.00774, left-looking between panels, right-looking within).
 * D = W − Ŵ of the panel takes the place of its weights, the mask bits are set.
 * Returns Σ err². Throws SolverError when weights leave the range of f32.
 */
export async function sweepPanel(space: Workspace, panel: Panel, blas: Blas, pattern: Pattern): Promise<number> {
  const { wasm, slabs } = space
  const { begin, end } = panel
  for (const slab of slabs) {
    const W = rowsOf(space, slab, slab.current, 0, end - begin)
    W.set(rowsOf(space, slab, slab.D, begin, end))
    const D = rowsOf(space, slab, slab.D, 0, begin)
    if (begin > 0) await blas.gemm(end - begin, slab.ld, begin, panel.Gt, D, W, { beta: 1 })
  }
  let loss = 0
  for (const { column, first, last } of columnBlocks(panel.steps)) {
    const columns = Math.min(COLUMN_BLOCK, end - begin - column)
    const threshold =
      pattern.kind === 'unstructured' ? selectThreshold(space, panel, column, columns, pattern.sparsity) : 0
    for (const slab of slabs)
      for (let i = first; i < last; i++) {
        const step = panel.steps[i]!
        if (step.kind === 'prune') loss += prune(space, slab, panel, step.begin, step.end, pattern, threshold)
        else {
          const d = wasm.view(space.removed + 4 * step.begin * slab.ld, (step.middle - step.begin) * slab.ld)
          const right = rowsOf(space, slab, slab.current, step.middle, step.end)
          const [rows, depth] = [step.end - step.middle, step.middle - step.begin]
          await blas.gemm(rows, slab.ld, depth, panel.updates[i]!, d, right, { alpha: -1, beta: 1 })
        }
      }
  }
  return loss
}

/** The steps [first, last) of each column block, the update of the rest of the panel included, and its first column. */
function columnBlocks(steps: readonly Step[]): { column: number; first: number; last: number }[] {
  const firsts = steps.flatMap((step, i) => (step.kind === 'prune' && step.begin % COLUMN_BLOCK === 0 ? [i] : []))
  return firsts.map((first, b) => ({ column: steps[first]!.begin, first, last: firsts[b + 1] ?? steps.length }))
}

/** Scores columns [begin, begin + columns) of the panel over all outputs; the weights at or below the result go. */
function selectThreshold(space: Workspace, panel: Panel, begin: number, columns: number, sparsity: number): number {
  const { wasm, slabs, bins, outputs } = space
  const { scoreColumns, clearCounters, countLowBits, findRank } = wasm.exports
  clearCounters(bins)
  let padding = 0
  for (const { current, scores, ld, outputs: real } of slabs) {
    scoreColumns(current + 4 * begin * ld, scores, columns, ld, space.diagonal + 4 * (panel.begin + begin), bins)
    padding += columns * (ld - real)
  }
  // The padding outputs score 0: they come first and shift the rank.
  const upper = findRank(bins, Math.floor(columns * outputs * sparsity) + padding)
  const bin = Math.floor(upper / 2 ** 32)
  clearCounters(bins)
  for (const { scores, ld } of slabs) countLowBits(scores, columns * ld, bin, bins)
  const low = Math.floor(findRank(bins, upper % 2 ** 32) / 2 ** 32)
  const threshold = floatOf(bin * 2 ** 15 + low)
  // NaN scores are the last in the order of bit patterns, so a finite threshold has only finite numbers below it.
  if (!Number.isFinite(threshold))
    throw new SolverError(
      `Cannot rank the weights of inputs ${panel.begin + begin} and on: scores left the range of f32`,
    )
  return threshold
}

function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!
}

/** Columns [begin, end) of the panel, at most LEAF, for one slab in one kernel call. */
function prune(
  space: Workspace,
  slab: Slab,
  panel: Panel,
  begin: number,
  end: number,
  pattern: Pattern,
  threshold: number,
): number {
  const { eliminate, markHighest } = space.wasm.exports
  const { ld, current, D } = slab
  const column = panel.begin + begin
  // Scores are kept for one column block at a time.
  const scores = slab.scores + 4 * (begin % COLUMN_BLOCK) * ld
  const diagonal = space.diagonal + 4 * column
  const isWide = pattern.kind === 'n:m' && pattern.m > LEAF
  if (isWide && begin % pattern.m === 0)
    markHighest(current + 4 * begin * ld, scores, pattern.m, pattern.n, ld, diagonal)
  const { n, m } = pattern.kind === 'n:m' && !isWide ? pattern : { n: 0, m: 0 }
  return eliminate(
    current + 4 * begin * ld,
    D + 4 * column * ld,
    space.removed + 4 * begin * ld,
    end - begin,
    ld,
    space.leaves + 4 * column * LEAF,
    scores,
    isWide ? 0.5 : threshold, // markHighest scores 0 and 1
    diagonal,
    n,
    m,
    space.mask + 4 * (slab.first * space.maskStride + column / LEAF),
    space.maskStride,
    space.scratch,
  )
}
