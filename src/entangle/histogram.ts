import { BINS, binOf, LINEAR_BINS, LINEAR_LIMIT, PER_UNIT, TAIL_BINS } from './grid.ts'

/** Where the grid of one neuron lies: z = (y − centre) / scale. */
export type Placement = { readonly centre: number; readonly scale: number }

/** Power sums of z kept per neuron: Σz, Σz², Σz³, Σz⁴. */
export const POWERS = 4

/** Mean, variance (population) and kurtosis E(y − mean)⁴ / variance² of one neuron's outputs; a normal has kurtosis 3. */
export type Moments = { readonly mean: number; readonly variance: number; readonly kurtosis: number }

/**
 * Counts the outputs `values[from … from + count)` of one neuron into `counts[at … at + BINS)` and adds the powers of
 * z to `sums[sumsAt … sumsAt + POWERS)`.
 */
export function countValues(
  values: Float32Array,
  from: number,
  count: number,
  { centre, scale }: Placement,
  counts: Uint32Array,
  at: number,
  sums: Float64Array,
  sumsAt: number,
): void {
  const inverse = 1 / scale
  // The linear part of binOf() with one multiplication and one addition; the tails are rare.
  const factor = inverse * PER_UNIT
  const offset = LINEAR_LIMIT * PER_UNIT - centre * factor
  const base = at + TAIL_BINS
  const end = from + count
  for (let i = from; i < end; i++) {
    const position = values[i]! * factor + offset
    if (position >= 0 && position < LINEAR_BINS) counts[base + (position | 0)]!++
    else counts[at + binOf((values[i]! - centre) * inverse)]!++
  }
  let s1 = 0
  let s2 = 0
  let s3 = 0
  let s4 = 0
  for (let i = from; i < end; i++) {
    const z = (values[i]! - centre) * inverse
    const square = z * z
    s1 += z
    s2 += square
    s3 += square * z
    s4 += square * square
  }
  sums[sumsAt]! += s1
  sums[sumsAt + 1]! += s2
  sums[sumsAt + 2]! += s3
  sums[sumsAt + 3]! += s4
}

/** Moments of y from the power sums of z over n outputs. */
export function momentsOf(sums: Float64Array, at: number, n: number, { centre, scale }: Placement): Moments {
  const m = sums[at]! / n
  const [r2, r3, r4] = [sums[at + 1]! / n, sums[at + 2]! / n, sums[at + 3]! / n]
  const variance = Math.max(0, r2 - m * m)
  const fourth = r4 - 4 * m * r3 + 6 * m * m * r2 - 3 * m ** 4
  return {
    mean: centre + scale * m,
    variance: variance * scale * scale,
    kurtosis: variance > 0 ? fourth / (variance * variance) : NaN,
  }
}

/** Adds the counts of `n` neurons of one histogram to another. */
export function addCounts(into: Uint32Array, from: Uint32Array, first: number, neurons: number): void {
  for (let i = first * BINS, end = (first + neurons) * BINS; i < end; i++) into[i]! += from[i]!
}
