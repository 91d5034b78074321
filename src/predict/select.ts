import { ShapeError, UsageError } from '../errors.ts'
import { createRng } from '../linalg/rng.ts'
import { topK, topKDescending } from './top-k.ts'

/**
 * How a set of neurons comes from scores: the largest; drawn without replacement with chances in proportion to the
 * scores; or half of each (the first ⌊k/2⌋ by size, the others drawn from the rest).
 */
export const SELECTION_METHODS = ['top-k', 'sample', 'mixed'] as const
export type SelectionMethod = (typeof SELECTION_METHODS)[number]

/**
 * k distinct neurons by rising index. `seed` counts for 'sample' and 'mixed' only. Throws ShapeError unless 0 ≤ k ≤ n,
 * UsageError for scores that are negative or not finite where they are chances.
 */
export function selectNeurons(
  scores: Float64Array,
  k: number,
  method: SelectionMethod = 'top-k',
  seed = 0,
): Int32Array {
  switch (method) {
    case 'top-k':
      return topK(scores, k)
    case 'sample':
      return drawn(scores, k, new Int32Array(0), seed).sort()
    case 'mixed': {
      const first = topKDescending(scores, Math.floor(k / 2))
      return Int32Array.from([...first, ...drawn(scores, k - first.length, first, seed)]).sort()
    }
  }
}

/**
 * Sampling without replacement in proportion to weights: the k largest of log(u) / w (Efraimidis & Spirakis 2006).
 * Weights of 0 come last, by index, when the others do not suffice.
 */
function drawn(scores: Float64Array, k: number, taken: Int32Array, seed: number): Int32Array {
  const { uniform } = createRng(seed)
  const keys = scores.map((weight, j) => {
    if (!(weight >= 0 && weight < Infinity))
      throw new UsageError(`Cannot sample neurons: neuron ${j} has score ${weight}, wanted a finite one of at least 0`)
    // One draw per neuron, used or not: the others then do not depend on which were taken.
    const draw = Math.log(1 - uniform())
    return weight === 0 ? -Number.MAX_VALUE : draw / weight
  })
  for (const j of taken) keys[j] = -Infinity
  if (k > scores.length - taken.length)
    throw new ShapeError(`Cannot draw ${k} of ${scores.length - taken.length} neurons`)
  return topKDescending(keys, k)
}
