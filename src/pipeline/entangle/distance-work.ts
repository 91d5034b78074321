import { coarseHistogram, histogramDistance, histogramToNormal } from '../../entangle/distance.ts'
import { BINS } from '../../entangle/grid.ts'
import { addCounts, momentsOf, POWERS } from '../../entangle/histogram.ts'
import { descending } from '../../entangle/ranking.ts'
import type { DistanceJob, DistanceResult } from './jobs.ts'
import { SHAPE } from './jobs.ts'

/** No session and no weights: only the shared histograms. */
export function distance(job: DistanceJob): DistanceResult {
  const { first, neurons, tokens, placements } = job
  const counts = merged(job.slots, first, neurons)
  const pruned = (job.prunedSlots ?? []).map((slots) => merged(slots, first, neurons))
  const empty = (): Float64Array => new Float64Array(neurons)
  const result = { wd: empty(), bound: empty(), mean: empty(), variance: empty(), kurtosis: empty() }
  const prunedDistances = pruned.map(() => empty())
  for (let j = 0; j < neurons; j++) {
    const neuron = first + j
    const place = { centre: placements.centre[neuron]!, scale: placements.scale[neuron]! }
    const moments = momentsOf(job.sums, neuron * POWERS, tokens, place)
    const streamed = histogramToNormal(counts, neuron * BINS, tokens, place, moments)
    result.wd[j] = streamed.distance
    result.bound[j] = streamed.bound
    result.mean[j] = moments.mean
    result.variance[j] = moments.variance
    result.kurtosis[j] = moments.kurtosis
    const deviation = Math.sqrt(moments.variance)
    const dense = { counts, n: tokens }
    for (const [v, own] of pruned.entries())
      prunedDistances[v]![j] = histogramDistance(dense, { counts: own, n: tokens }, neuron * BINS, place, deviation)
  }
  const shapes = descending(result.wd)
    .slice(0, SHAPE.neurons)
    .map((j) => {
      const neuron = first + j
      const place = { centre: placements.centre[neuron]!, scale: placements.scale[neuron]! }
      const moments = { mean: result.mean[j]!, variance: result.variance[j]!, kurtosis: result.kurtosis[j]! }
      const shares = coarseHistogram(counts, neuron * BINS, tokens, place, moments, SHAPE)
      return { neuron, wd: result.wd[j]!, shares: [...shares] }
    })
  if (job.addTo) addCounts(new Uint32Array(job.addTo), counts, first, neurons)
  for (const part of [counts, ...pruned]) part.fill(0, first * BINS, (first + neurons) * BINS)
  return { ...result, shapes, prunedDistances }
}

/** The first histogram with all others added to it; those are cleared. */
function merged(slots: readonly SharedArrayBuffer[], first: number, neurons: number): Uint32Array {
  const [sum, ...rest] = slots.map((slot) => new Uint32Array(slot))
  for (const part of rest) {
    addCounts(sum!, part, first, neurons)
    part.fill(0, first * BINS, (first + neurons) * BINS)
  }
  return sum!
}
