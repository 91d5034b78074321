import { BINS } from './grid.ts'

/** Where the grid of one neuron lies: z = (y − centre) / scale. */
export type Placement = { readonly centre: number; readonly scale: number }

/** Power sums of z kept per neuron: Σz, Σz², Σz³, Σz⁴. */
export const POWERS = 4

/** Mean, variance (population) and kurtosis E(y − mean)⁴ / variance² of one neuron's outputs; a normal has kurtosis 3. */
export type Moments = { readonly mean: number; readonly variance: number; readonly kurtosis: number }

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
