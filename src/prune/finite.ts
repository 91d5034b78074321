import { SolverError } from '../errors.ts'

/** Throws SolverError naming the first entry of A (rows, cols) that is not finite. */
export function assertFinite(A: Float32Array, cols: number, name: string): void {
  for (let i = 0; i < A.length; i++) {
    const a = A[i]!
    if (a - a !== 0)
      throw new SolverError(
        `Cannot prune with ${a} in ${name}, row ${Math.floor(i / cols)}, column ${i % cols}: expected finite numbers`,
      )
  }
}
