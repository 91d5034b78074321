import { BINS, EDGES } from './grid.ts'
import type { Moments, Placement } from './histogram.ts'
import { normalDensity, normalQuantile, quantileTable } from './normal.ts'

/** A distance from counts, and how far the exact one may be from it whatever the outputs did inside their bins. */
export type StreamedDistance = { readonly distance: number; readonly bound: number }

/** Over so short a range of quantiles Φ⁻¹ is a line to 1e-4 of its length. */
const STRAIGHT = 0.01

/**
 * The streaming form of wassersteinToNormal(): W₁ = ∫₀¹ |F⁻¹(p) − Φ⁻¹(p)| dp with F⁻¹ linear inside every bin. `counts`
 * of one neuron from `at` on, n outputs in all. Moving every output inside its bin moves W₁ by at most `bound`, the mean
 * half width of the bins in standard deviations. NaN when the outputs are constant.
 */
export function histogramToNormal(
  counts: Uint32Array,
  at: number,
  n: number,
  { centre, scale }: Placement,
  { mean, variance }: Moments,
): StreamedDistance {
  const unit = scale / Math.sqrt(variance)
  const shift = (centre - mean) / Math.sqrt(variance)
  if (!(variance > 0)) return { distance: NaN, bound: 0 }
  let distance = 0
  let widths = 0
  let below = 0
  let p0 = 0
  let q0 = -Infinity
  const quantiles = quantileTable(n)
  for (let b = 0; b < BINS; b++) {
    const count = counts[at + b]!
    if (count === 0) continue
    below += count
    const p1 = below / n
    const q1 = quantiles ? quantiles[below]! : normalQuantile(p1)
    const z0 = EDGES[b]! * unit + shift
    const z1 = EDGES[b + 1]! * unit + shift
    if (q1 - q0 < STRAIGHT) distance += (p1 - p0) * meanAbsolute(z0 - q0, z1 - q1)
    else distance += bentArea(z0, z1, q0, q1, p0, p1)
    widths += (p1 - p0) * (z1 - z0)
    p0 = p1
    q0 = q1
  }
  // The end bins also hold what lies beyond them, nobody knows how far.
  const clipped = counts[at]! + counts[at + BINS - 1]! > 0
  return { distance, bound: clipped ? Infinity : widths / 2 }
}

/**
 * W₁ between the outputs of a neuron in two states (dense and pruned), counted on the same grid, in units of `deviation`:
 * the area between their distribution functions, linear inside every bin.
 */
export function histogramDistance(
  a: { readonly counts: Uint32Array; readonly n: number },
  b: { readonly counts: Uint32Array; readonly n: number },
  at: number,
  { scale }: Placement,
  deviation: number,
): number {
  let area = 0
  let gap0 = 0
  let belowA = 0
  let belowB = 0
  for (let bin = 0; bin < BINS; bin++) {
    belowA += a.counts[at + bin]!
    belowB += b.counts[at + bin]!
    const gap1 = belowA / a.n - belowB / b.n
    if (gap0 !== 0 || gap1 !== 0) area += (EDGES[bin + 1]! - EDGES[bin]!) * meanAbsolute(gap0, gap1)
    gap0 = gap1
  }
  return (area * scale) / deviation
}

/** Outputs per interval of an even grid over [−limit, limit) standard deviations, as shares; beyond it nothing. */
export function coarseHistogram(
  counts: Uint32Array,
  at: number,
  n: number,
  { centre, scale }: Placement,
  { mean, variance }: Moments,
  { intervals, limit }: { readonly intervals: number; readonly limit: number },
): Float64Array {
  const shares = new Float64Array(intervals)
  const deviation = Math.sqrt(variance)
  for (let b = 0; b < BINS; b++) {
    const count = counts[at + b]!
    if (count === 0) continue
    const z = (((EDGES[b]! + EDGES[b + 1]!) / 2) * scale + centre - mean) / deviation
    const interval = Math.floor(((z + limit) / (2 * limit)) * intervals)
    if (interval >= 0 && interval < intervals) shares[interval]! += count / n
  }
  return shares
}

/**
 * ∫|z − Φ⁻¹(p)| dp over [p0, p1] where Φ⁻¹ is too bent, or infinite, to be taken for a line. Where it does not pass z, by
 * ∫Φ⁻¹ = φ(q0) − φ(q1), exactly; where it passes an atom at c, c (2p* − p0 − p1) − φ(q0) − φ(q1) + 2 φ(c), p* = Φ(c).
 */
function bentArea(z0: number, z1: number, q0: number, q1: number, p0: number, p1: number): number {
  const c = (z0 + z1) / 2
  if ((z0 - q0) * (z1 - q1) >= 0) return Math.abs(c * (p1 - p0) - (densityAt(q0) - densityAt(q1)))
  if (q1 - q0 <= 4 * (z1 - z0)) return (p1 - p0) * meanAbsolute(z0 - q0, z1 - q1)
  let low = p0
  let high = p1
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2
    if (normalQuantile(middle) < c) low = middle
    else high = middle
  }
  return c * (low + high - p0 - p1) - densityAt(q0) - densityAt(q1) + 2 * normalDensity(c)
}

/** φ, 0 at ±∞. */
function densityAt(q: number): number {
  return Number.isFinite(q) ? normalDensity(q) : 0
}

/** ∫₀¹ |d0 + (d1 − d0) t| dt. */
function meanAbsolute(d0: number, d1: number): number {
  if (d0 * d1 >= 0) return Math.abs(d0 + d1) / 2
  return (d0 * d0 + d1 * d1) / (2 * (Math.abs(d0) + Math.abs(d1)))
}
