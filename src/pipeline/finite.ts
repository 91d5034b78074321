import { SolverError } from '../errors.ts'

/** Above it the square of a number, which every norm takes, is no float32 any more. */
const MOST = 2 ** 63

/**
 * Throws SolverError naming layer and token when hidden states (rows, width) or FF inputs are NaN, infinite, or too large to
 * be normed: a norm makes zeros of the latter, which look like any other input. The weights are known to be finite.
 */
export function assertFiniteRows(
  rows: Float32Array,
  width: number,
  at: { readonly what: string; readonly layer: number; readonly firstRow: number },
): void {
  for (let i = 0; i < rows.length; i++) {
    const v = rows[i]!
    if (v <= MOST && v >= -MOST) continue
    throw new SolverError(
      `Cannot go on in layer ${at.layer}: ${at.what} of token ${at.firstRow + Math.floor(i / width)} hold ${v}, expected ` +
        'less than 2^63: weights of this or of earlier layers are too large for float32, or the text is none for this model',
    )
  }
}
