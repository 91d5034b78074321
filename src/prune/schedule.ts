import { COLUMN_BLOCK } from './pattern.ts'

/** Columns pruned by one kernel call. */
export const LEAF = 32
/** Columns whose current weights are kept at a time. */
export const GROUP = 1024
/** Widest panel there is: sizes the memory of the diagonal block. */
export const MAX_PANEL = 2 * COLUMN_BLOCK

/**
 * One step on the columns of a group. 'prune': columns [begin, end), at most LEAF. 'update' and 'apply' bring columns
 * [middle, end) up to date with the pruned [begin, middle): inside a panel from what was removed, between panels from
 * D = W − Ŵ.
 */
export type Step =
  | { readonly kind: 'prune'; readonly begin: number; readonly end: number }
  | { readonly kind: 'update' | 'apply'; readonly begin: number; readonly middle: number; readonly end: number }

/**
 * Order of work on a group of `width` columns in panels of `panel`: prune the left half, bring the right half up to date
 * in one product, prune the right half, and so on down to LEAF columns: most of the work is in large products. When the
 * columns of a column block come up, all earlier columns have been applied to the whole block, as its threshold wants.
 */
export function schedule(width: number, panel: number): Step[] {
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
    steps.push({ kind: half < panel ? 'update' : 'apply', begin, middle, end })
    visit(middle, end)
  }
  visit(0, width)
  return steps
}

/**
 * Columns of one panel, a multiple of the column block. Wider panels mean products nearer to full speed in the
 * factorisation but more work on the diagonal blocks, which only pays for large matrices. Depends on the shape alone:
 * the same matrix gives the same bytes everywhere.
 */
export function panelWidth(inputs: number): number {
  return inputs <= 2048 ? COLUMN_BLOCK : MAX_PANEL
}
