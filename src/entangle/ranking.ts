/** The p-quantile (0 … 1) of numbers, linear between neighbours (numpy's default); NaN entries are left out. */
export function quantile(values: ArrayLike<number>, p: number): number {
  return sortedQuantile(finiteSorted(values), p)
}

/** quantile() at several p of the same numbers. */
export function quantiles(values: ArrayLike<number>, ps: readonly number[]): number[] {
  const sorted = finiteSorted(values)
  return ps.map((p) => sortedQuantile(sorted, p))
}

/**
 * Indices whose value lies strictly above the (1 − top) quantile, largest first, ties by index: the "Wasserstein neurons"
 * of a layer when the values are WD and top is 0.03.
 */
export function topIndices(values: ArrayLike<number>, top: number): number[] {
  const limit = quantile(values, 1 - top)
  return descending(values).filter((i) => values[i]! > limit)
}

/** Indices by falling value, ties by index; NaN entries are left out. */
export function descending(values: ArrayLike<number>): number[] {
  return Array.from({ length: values.length }, (_, i) => i)
    .filter((i) => !Number.isNaN(values[i]!))
    .sort((a, b) => values[b]! - values[a]! || a - b)
}

/** The line through points by least squares, and R², the share of the variance of y that it explains. */
export type Fit = { readonly slope: number; readonly intercept: number; readonly r2: number; readonly points: number }

/** Least squares of y on x over the pairs that are both finite; R² is NaN when x or y is constant. */
export function linearFit(x: ArrayLike<number>, y: ArrayLike<number>): Fit {
  const used = Array.from({ length: x.length }, (_, i) => i).filter(
    (i) => Number.isFinite(x[i]) && Number.isFinite(y[i]),
  )
  const n = used.length
  const mean = (of: ArrayLike<number>): number => used.reduce((sum, i) => sum + of[i]!, 0) / n
  const [mx, my] = [mean(x), mean(y)]
  let [xx, xy, yy] = [0, 0, 0]
  for (const i of used) {
    xx += (x[i]! - mx) ** 2
    xy += (x[i]! - mx) * (y[i]! - my)
    yy += (y[i]! - my) ** 2
  }
  const slope = xy / xx
  return { slope, intercept: my - slope * mx, r2: (xy * xy) / (xx * yy), points: n }
}

/** Mean of `values` weighted by `weights`, over the finite values; NaN when none is. */
export function weightedMean(values: readonly number[], weights: readonly number[]): number {
  let sum = 0
  let total = 0
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) return
    sum += value * weights[i]!
    total += weights[i]!
  })
  return total > 0 ? sum / total : NaN
}

/**
 * RI of neurons: RMSE of the one-expert baseline over RMSE of the mixture, both against the dense outputs; 1 = no gain.
 * A neuron that neither changes gets 1, one that only the mixture reproduces exactly Infinity.
 */
export function relativeImprovement(baseline: ArrayLike<number>, mixture: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: baseline.length }, (_, i) =>
    baseline[i] === mixture[i] ? 1 : baseline[i]! / mixture[i]!,
  )
}

function finiteSorted(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values)
    .filter((value) => !Number.isNaN(value))
    .sort()
}

function sortedQuantile(sorted: Float64Array, p: number): number {
  if (sorted.length === 0) return NaN
  const at = Math.min(Math.max(p, 0), 1) * (sorted.length - 1)
  const below = Math.floor(at)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below]! + (at - below) * (sorted[above]! - sorted[below]!)
}
