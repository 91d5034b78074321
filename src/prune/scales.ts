import type { Grid } from './grid.ts'
import { gridLimit, scaleSearch } from './grid.ts'
import type { Group } from './operands.ts'
import type { Pattern } from './pattern.ts'
import { COLUMN_BLOCK, patternSparsity } from './pattern.ts'
import type { Slab, Workspace } from './workspace.ts'

/** Address of the scales (ld) that serve a column. */
export function scaleRow({ scales, ld }: Slab, { groupSize }: Grid, column: number): number {
  return groupSize === 0 ? scales : scales + 4 * Math.floor(column / groupSize) * ld
}

/**
 * Scales of one slab for the group of inputs that begins at `begin` (in its group of columns), from the weights that
 * are kept. Earlier columns have been applied to all of them by now. What an unstructured pattern keeps is known; of n:m
 * with m up to the group size it is what would be kept if the group's weights did not change any more.
 */
export function chooseScales(
  space: Workspace,
  slab: Slab,
  group: Group,
  begin: number,
  grid: Grid,
  pattern: Pattern,
  threshold: number,
): void {
  const { markHighest, chooseScales: choose } = space.wasm.exports
  const { ld } = slab
  const columns = Math.min(grid.groupSize, group.end - group.begin - begin)
  const W = slab.current + 4 * begin * ld
  const scores = slab.scores + 4 * (begin % COLUMN_BLOCK) * ld
  const diagonal = space.diagonal + 4 * (group.begin + begin)
  if (pattern.kind === 'n:m' && pattern.m <= grid.groupSize)
    for (let j = 0; j < columns; j += pattern.m)
      markHighest(W + 4 * j * ld, scores + 4 * j * ld, pattern.m, pattern.n, ld, diagonal + 4 * j)
  const cut = pattern.kind === 'n:m' ? 0.5 : threshold // markHighest scores 0 and 1
  const scales = scaleRow(slab, grid, group.begin + begin)
  const { widest, tries, step } = scaleSearch(grid, patternSparsity(pattern))
  choose(W, scores, cut, columns, ld, diagonal, gridLimit(grid), widest, tries, step, scales)
}

/**
 * One scale for all inputs of an output, from the dense weights. What will be kept is not known yet, so the widest scale is
 * taken: the largest weights are kept as a rule, and a search would be ruled by the many small ones that are not.
 */
export function chooseRowScales(space: Workspace, grid: Grid): void {
  const { chooseScales: choose } = space.wasm.exports
  for (const { D, ld, scales } of space.slabs)
    choose(D, 0, 0, space.inputs, ld, space.diagonal, gridLimit(grid), scaleSearch(grid, 0).widest, 1, 0, scales)
}
