import { SolverError, UsageError } from '../errors.ts'
import { fromF16, toF16 } from '../tensor/half.ts'

/**
 * A symmetric integer grid: a kept weight is scale · q with a whole number |q| ≤ 2^(bits−1) − 1. Every output has one f16
 * scale for each group of `groupSize` consecutive inputs (pruned ones counted), or a single one when that is 0.
 */
export type Grid = { readonly bits: 8 | 4; readonly groupSize: number }

/** Group sizes there are: leaves and column blocks of the solver begin where groups do. */
export const GROUP_SIZES: readonly number[] = [0, 32, 64, 128]

/** Candidates of a scale: (widest − t · step) · largest weight / limit, 0 ≤ t < tries. */
export type ScaleSearch = { readonly widest: number; readonly tries: number; readonly step: number }

/** Throws UsageError for bits or a group size that no artifact can have. */
export function checkGrid({ bits, groupSize }: Grid): void {
  if ((bits !== 8 && bits !== 4) || !GROUP_SIZES.includes(groupSize))
    throw new UsageError(
      `Cannot round weights to ${bits} bits in groups of ${groupSize}: expected 8 or 4 bits, groups of ` +
        GROUP_SIZES.join(', '),
    )
}

/** Largest |q|. */
export function gridLimit({ bits }: Pick<Grid, 'bits'>): number {
  return 2 ** (bits - 1) - 1
}

/** Scales of one output. */
export function scaleGroups({ groupSize }: Pick<Grid, 'groupSize'>, inputs: number): number {
  return groupSize === 0 ? 1 : Math.ceil(inputs / groupSize)
}

/**
 * Which scales are tried. Kept weights grow while they make up for later ones, and whatever leaves the grid is clipped: 255
 * levels have room for half as much again, which measured better than any tighter scale, however small the groups.
 * 15 levels have none to spare: where most weights are kept, clipping the largest to be finer for the many small ones pays.
 * Of a few kept weights hardly any are small, and the search gains nothing (docs/results.md).
 */
export function scaleSearch({ bits }: Pick<Grid, 'bits'>, sparsity: number): ScaleSearch {
  if (bits === 8) return { widest: 1.5, tries: 1, step: 0 }
  return sparsity > 0.5 ? { widest: 1, tries: 1, step: 0 } : { widest: 1, tries: 10, step: 0.05 }
}

/** f16 bits of scales that are f16 numbers already. Throws SolverError where one is too large to be one. */
export function packScales(scales: Float32Array, name: string): Uint16Array {
  const packed = toF16(scales)
  const bad = packed.findIndex((bits) => bits >= 0x7c00)
  if (bad >= 0)
    throw new SolverError(`Cannot store a scale of ${name}: ${scales[bad]} does not fit f16 (at most 65504)`)
  return packed
}

/**
 * Rounds the kept weights of W (outputs, inputs) to the nearest number of the grid, each by itself: what methods without
 * a Hessian do. No weight moves, so a group's scale is its largest kept weight / limit, or for 4 bits the candidate with the
 * lowest squared error.
 * Returns the weights on the grid and the scales (outputs, groups) as f16 bits.
 */
export function roundToGrid(
  W: Float32Array,
  outputs: number,
  inputs: number,
  grid: Grid,
  name: string,
): { weights: Float32Array; scales: Uint16Array } {
  const groups = scaleGroups(grid, inputs)
  const width = grid.groupSize || inputs
  const limit = gridLimit(grid)
  const scales = new Float32Array(outputs * groups)
  const weights = new Float32Array(W.length)
  for (let at = 0; at < scales.length; at++) {
    const begin = Math.floor(at / groups) * inputs + (at % groups) * width
    const end = Math.min(begin + width, (Math.floor(at / groups) + 1) * inputs)
    scales[at] = nearestScale(W.subarray(begin, end), limit, { ...scaleSearch(grid, 0), widest: 1 })
    for (let i = begin; i < end; i++) weights[i] = onGrid(W[i]!, scales[at]!, limit)
  }
  return { weights, scales: packScales(scales, name) }
}

/** The best candidate for some weights, as f16 holds it. */
function nearestScale(weights: Float32Array, limit: number, { widest, tries, step }: ScaleSearch): number {
  const largest = weights.reduce((max, w) => Math.max(max, Math.abs(w)), 0)
  let best = 0
  let lowest = Infinity
  for (let t = 0; t < tries; t++) {
    const scale = scaleAsStored((largest / limit) * (widest - t * step))
    let error = 0
    for (let i = 0; i < weights.length; i++) error += (weights[i]! - onGrid(weights[i]!, scale, limit)) ** 2
    if (error < lowest) [best, lowest] = [scale, error]
  }
  return best
}

/** f16 cannot hold it: the smallest number that it can, so that a weight is not lost to its scale. */
function scaleAsStored(scale: number): number {
  if (scale > 65504) return scale
  const rounded = fromF16(toF16(Float32Array.of(scale)))[0]!
  return scale > 0 ? Math.max(rounded, 2 ** -24) : 0
}

function onGrid(w: number, scale: number, limit: number): number {
  return scale > 0 ? Math.max(-limit, Math.min(limit, roundHalfEven(w / scale))) * scale : 0
}

/** As the kernels round. */
function roundHalfEven(x: number): number {
  const rounded = Math.round(x)
  return Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : rounded
}
