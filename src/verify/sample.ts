import { SolverError } from '../errors.ts'

/** How the next token is chosen; temperature 0 takes the most likely. */
export type Sampling = {
  readonly temperature: number
  /** Only the k most likely; 0 means all. */
  readonly topK: number
  /** Only the most likely that together reach this probability; 1 means all. */
  readonly topP: number
}

/**
 * The next token of logits (vocab). Probabilities are softmax(logits / temperature) over the topK most likely, of those the
 * fewest whose sum reaches topP, drawn by one number of `uniform` in [0, 1). Ties go to the lower id.
 * Throws SolverError when a logit is NaN.
 */
export function sampleToken(
  logits: Float32Array,
  { temperature, topK, topP }: Sampling,
  uniform: () => number,
): number {
  const best = argMax(logits)
  if (temperature === 0) return best
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b)
  const kept = topK > 0 ? order.slice(0, topK) : order
  const weights = kept.map((id) => Math.exp((logits[id]! - logits[best]!) / temperature))
  const all = weights.reduce((sum, w) => sum + w, 0)
  let end = 0
  let total = 0
  while (end < kept.length && (end === 0 || total < topP * all)) total += weights[end++]!
  let left = uniform() * total
  for (let i = 0; i < end - 1; i++) {
    left -= weights[i]!
    if (left < 0) return kept[i]!
  }
  return kept[end - 1]!
}

/** Index of the largest, the lowest on ties. Throws SolverError when one is NaN. */
export function argMax(logits: Float32Array): number {
  let best = 0
  for (let i = 0; i < logits.length; i++) {
    if (Number.isNaN(logits[i])) throw new SolverError(`Cannot choose a token: logit ${i} is NaN`)
    if (logits[i]! > logits[best]!) best = i
  }
  return best
}
