import { COLUMN_BLOCK } from './pattern.ts'

/** Columns pruned by one kernel call. */
export const LEAF = 32

/** Columns [begin, end) of a panel pruned together, or the update of columns [middle, end) by the pruned [begin, middle). */
export type Step =
  | { readonly kind: 'prune'; readonly begin: number; readonly end: number }
  | { readonly kind: 'update'; readonly begin: number; readonly middle: number; readonly end: number }

/**
 * Order of work on one panel of `width` columns: prune the left half, update the right half in one product, prune the
 * right half, and so on down to LEAF columns. When the columns of a column block come up, all earlier columns have been
 * applied to the whole block, as its threshold wants.
 */
export function schedule(width: number): Step[] {
  const steps: Step[] = []
  const visit = (begin: number, end: number): void => {
    if (end - begin <= LEAF) {
      steps.push({ kind: 'prune', begin, end })
      return
    }
    let half = LEAF
    while (half * 2 < end - begin) half *= 2
    const middle = begin + half
    visit(begin, middle)
    steps.push({ kind: 'update', begin, middle, end })
    visit(middle, end)
  }
  visit(0, width)
  return steps
}

/** Widest panel there is: sizes the memory of the diagonal block. */
export const MAX_PANEL = 2 * COLUMN_BLOCK

/**
 * Columns of one panel, a multiple of the column block. Wider panels mean products nearer to full speed but more work on
 * the diagonal blocks, which only pays for large matrices. Depends on the shape alone: the same matrix gives the same
 * bytes everywhere.
 */
export function panelWidth(inputs: number): number {
  return inputs <= 2048 ? COLUMN_BLOCK : MAX_PANEL
}
