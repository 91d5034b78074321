import type { Blas } from '../tensor/blas.ts'
import { gridLimit } from './grid.ts'
import type { Group } from './operands.ts'
import type { Pattern } from './pattern.ts'
import { COLUMN_BLOCK } from './pattern.ts'
import { chooseScales, scaleRow } from './scales.ts'
import type { Step } from './schedule.ts'
import { LEAF } from './schedule.ts'
import { selectThreshold } from './threshold.ts'
import type { Slab, Workspace } from './workspace.ts'
import { rowsOf } from './workspace.ts'

/**
 * Prunes one group of columns (Algorithm 1 of arXiv 2301.00774, left-looking between panels, right-looking within).
 * D = W − Ŵ of the group takes the place of its weights, the mask bits are set.
 * Returns Σ err². Throws SolverError when weights leave the range of f32.
 */
export async function sweepGroup(space: Workspace, group: Group, blas: Blas, pattern: Pattern): Promise<number> {
  const { begin, end } = group
  for (const slab of space.slabs) {
    const W = rowsOf(space, slab, slab.current, 0, end - begin)
    W.set(rowsOf(space, slab, slab.D, begin, end))
    const D = rowsOf(space, slab, slab.D, 0, begin)
    if (begin > 0) await blas.gemm(end - begin, slab.ld, begin, group.Gt, D, W, { beta: 1 })
  }
  let loss = 0
  for (const { column, first, last } of columnBlocks(group.steps)) {
    const columns = Math.min(COLUMN_BLOCK, end - begin - column)
    const threshold =
      pattern.kind === 'unstructured' ? selectThreshold(space, group, column, columns, pattern.sparsity) : 0
    for (const slab of space.slabs)
      for (let i = first; i < last; i++) {
        const step = group.steps[i]!
        if (step.kind === 'prune') loss += prune(space, slab, group, step.begin, step.end, pattern, threshold)
        else await bringUpToDate(space, slab, group, step, group.operands[i]!, blas)
      }
  }
  return loss
}

/** Columns [middle, end) of the current weights, with what pruning [begin, middle) means for them. */
async function bringUpToDate(
  space: Workspace,
  slab: Slab,
  group: Group,
  { kind, begin, middle, end }: Exclude<Step, { kind: 'prune' }>,
  operand: Float32Array,
  blas: Blas,
): Promise<void> {
  const right = rowsOf(space, slab, slab.current, middle, end)
  const left =
    kind === 'apply'
      ? rowsOf(space, slab, slab.D, group.begin + begin, group.begin + middle)
      : space.wasm.view(removedRow(space, slab, begin), (middle - begin) * slab.ld)
  const alpha = kind === 'apply' ? 1 : -1
  await blas.gemm(end - middle, slab.ld, middle - begin, operand, left, right, { alpha, beta: 1 })
}

/** What was removed is kept for one panel and one slab at a time. */
function removedRow({ removed, panelWidth }: Workspace, { ld }: Slab, column: number): number {
  return removed + 4 * (column % panelWidth) * ld
}

/** The steps [first, last) of each column block, those for later columns included, and its first column. */
function columnBlocks(steps: readonly Step[]): { column: number; first: number; last: number }[] {
  const firsts = steps.flatMap((step, i) => (step.kind === 'prune' && step.begin % COLUMN_BLOCK === 0 ? [i] : []))
  return firsts.map((first, b) => ({ column: steps[first]!.begin, first, last: firsts[b + 1] ?? steps.length }))
}

/** Columns [begin, end) of the group, at most LEAF, for one slab in one kernel call. */
function prune(
  space: Workspace,
  slab: Slab,
  group: Group,
  begin: number,
  end: number,
  pattern: Pattern,
  threshold: number,
): number {
  const { eliminate, eliminateOnGrid, markHighest } = space.wasm.exports
  const { ld, current, D } = slab
  const column = group.begin + begin
  // Scores are kept for one column block at a time.
  const scores = slab.scores + 4 * (begin % COLUMN_BLOCK) * ld
  const diagonal = space.diagonal + 4 * column
  const isWide = pattern.kind === 'n:m' && pattern.m > LEAF
  if (isWide && begin % pattern.m === 0)
    markHighest(current + 4 * begin * ld, scores, pattern.m, pattern.n, ld, diagonal)
  const { n, m } = pattern.kind === 'n:m' && !isWide ? pattern : { n: 0, m: 0 }
  const operands = [
    current + 4 * begin * ld,
    D + 4 * column * ld,
    removedRow(space, slab, begin),
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
  ] as const
  if (!space.grid) return eliminate(...operands)
  if (space.grid.groupSize > 0 && begin % space.grid.groupSize === 0)
    chooseScales(space, slab, group, begin, space.grid, pattern, threshold)
  return eliminateOnGrid(...operands, scaleRow(slab, space.grid, column), gridLimit(space.grid))
}
