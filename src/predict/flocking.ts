import { ShapeError } from '../errors.ts'

/** |A ∩ B| / |A ∪ B| of two sets given as lists without repeats, in any order; 1 for two empty sets. */
export function jaccard(a: Int32Array, b: Int32Array): number {
  const inA = new Set(a)
  let common = 0
  for (const j of b) if (inA.has(j)) common++
  const all = a.length + b.length - common
  return all === 0 ? 1 : common / all
}

/** What Jaccard index two random sets of k out of n have, about: k / (2n − k). */
export function chanceJaccard(k: number, n: number): number {
  return k === 0 ? 1 : k / (2 * n - k)
}

/** Mean Jaccard index over all pairs of sets. Throws ShapeError for fewer than two. */
export function meanPairJaccard(sets: readonly Int32Array[]): number {
  if (sets.length < 2) throw new ShapeError(`Cannot compare ${sets.length} sets pair by pair: wanted at least 2`)
  let sum = 0
  for (let i = 0; i < sets.length; i++) for (let j = 0; j < i; j++) sum += jaccard(sets[i]!, sets[j]!)
  return sum / ((sets.length * (sets.length - 1)) / 2)
}

/**
 * An order of neurons from many sequences, best first: the mean of their scores, each scaled to unit length, ties by
 * index. A start where there is no prompt, and an order to store neurons in.
 */
export function staticOrder(scores: readonly Float64Array[]): Int32Array {
  if (scores.length === 0) throw new ShapeError('Cannot order neurons by the scores of no sequences')
  const mean = new Float64Array(scores[0]!.length)
  for (const one of scores) {
    let square = 0
    for (const s of one) square += s * s
    if (square === 0) continue
    const scale = 1 / Math.sqrt(square)
    for (let j = 0; j < mean.length; j++) mean[j] += scale * one[j]
  }
  return Int32Array.from({ length: mean.length }, (_, j) => j).sort((a, b) => mean[b] - mean[a] || a - b)
}
