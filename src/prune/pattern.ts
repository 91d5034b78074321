import { ShapeError, UsageError } from '../errors.ts'

/** How weights are removed: a share of all weights, or n zeros in every m consecutive inputs of a row. */
export type Pattern =
  | { readonly kind: 'unstructured'; readonly sparsity: number }
  | { readonly kind: 'n:m'; readonly n: number; readonly m: number }

/** Columns of one column block: the threshold of the unstructured pattern is taken over these, all rows together. */
export const COLUMN_BLOCK = 128

/**
 * Throws UsageError for a pattern that means nothing (sparsity outside [0, 1), n outside (0, m), m that does not divide
 * the column block of 128), ShapeError when `inputs` is not a multiple of m.
 */
export function checkPattern(pattern: Pattern, inputs: number): void {
  if (pattern.kind === 'unstructured') {
    const s = pattern.sparsity
    if (!(s >= 0 && s < 1)) throw new UsageError(`Cannot prune to sparsity ${s}: expected a fraction in [0, 1)`)
    return
  }
  const { n, m } = pattern
  if (!Number.isInteger(n) || !Number.isInteger(m) || n <= 0 || n >= m)
    throw new UsageError(
      `Cannot prune to pattern ${n}:${m}: expected whole numbers with 0 < n < m (n zeros of every m)`,
    )
  if (COLUMN_BLOCK % m !== 0)
    throw new UsageError(`Cannot prune to pattern ${n}:${m}: m must be a power of two up to ${COLUMN_BLOCK}`)
  if (inputs % m !== 0)
    throw new ShapeError(`Cannot prune to pattern ${n}:${m}: ${inputs} inputs are not a multiple of ${m}`)
}

/** Share of zeros a pattern asks for. */
export function patternSparsity(pattern: Pattern): number {
  return pattern.kind === 'unstructured' ? pattern.sparsity : pattern.n / pattern.m
}
