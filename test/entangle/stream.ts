import type { StreamedDistance } from '../../src/entangle/distance.ts'
import { createCounter } from '../../src/entangle/counter.ts'
import { histogramToNormal } from '../../src/entangle/distance.ts'
import { BINS } from '../../src/entangle/grid.ts'
import type { Moments, Placement } from '../../src/entangle/histogram.ts'
import { momentsOf, POWERS } from '../../src/entangle/histogram.ts'

/** One neuron's outputs counted in pieces of `step`. */
export function streamed(
  y: Float32Array,
  place: Placement,
  step = 1000,
): { counts: Uint32Array; moments: Moments; toNormal: StreamedDistance } {
  const counts = new Uint32Array(BINS)
  const sums = new Float64Array(POWERS)
  const count = createCounter(step)
  for (let from = 0; from < y.length; from += step)
    count(y, from, Math.min(step, y.length - from), place, counts, 0, sums, 0)
  const moments = momentsOf(sums, 0, y.length, place)
  return { counts, moments, toNormal: histogramToNormal(counts, 0, y.length, place, moments) }
}

/** Mean and population standard deviation of the first `n` outputs, as a pipeline would guess them. */
export function guess(y: Float32Array, n: number): Placement {
  const part = y.subarray(0, n)
  const centre = part.reduce((sum, v) => sum + v, 0) / n
  return { centre, scale: Math.sqrt(part.reduce((sum, v) => sum + (v - centre) ** 2, 0) / n) || 1 }
}
