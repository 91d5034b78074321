import { SolverError } from '../errors.ts'
import type { Group } from './operands.ts'
import type { Workspace } from './workspace.ts'

/**
 * Scores columns [begin, begin + columns) of the group over all outputs: the weights at or below the result go. Less than
 * every score for sparsity 0. Throws SolverError when scores leave the range of f32.
 */
export function selectThreshold(
  space: Workspace,
  group: Group,
  begin: number,
  columns: number,
  sparsity: number,
): number {
  const { wasm, slabs, bins, outputs } = space
  const { scoreColumns, clearCounters, countLowBits, findRank } = wasm.exports
  clearCounters(bins)
  let padding = 0
  for (const { current, scores, ld, outputs: real } of slabs) {
    scoreColumns(current + 4 * begin * ld, scores, columns, ld, space.diagonal + 4 * (group.begin + begin), bins)
    padding += columns * (ld - real)
  }
  if (sparsity === 0) return -1
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
      `Cannot rank the weights of inputs ${group.begin + begin} and on: scores left the range of f32`,
    )
  return threshold
}

function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!
}
