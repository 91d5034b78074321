import { ShapeError } from '../errors.ts'
import type { ActivationName } from '../tensor/activate.ts'
import { activate } from '../tensor/activate.ts'
import { markTopK } from './top-k.ts'

/**
 * How much neurons do for a token, element by element: |act(gate) · up|, without a gate |act(up)|. Biases are in the
 * numbers already.
 */
export function ffMagnitude(kind: ActivationName, gate: Float32Array | undefined, up: Float32Array): Float32Array {
  if (!gate) return up.map((u) => Math.abs(activate(kind, u)))
  if (kind === 'silu') return gatedMagnitude(gate, up)
  return gate.map((g, j) => Math.abs(activate(kind, g) * up[j]))
}

/** |silu(gate) · up|, element by element. */
export function gatedMagnitude(gate: Float32Array, up: Float32Array): Float32Array {
  if (gate.length !== up.length) throw new ShapeError(`Cannot gate ${up.length} numbers by ${gate.length}`)
  return gate.map((g, j) => Math.abs((g / (1 + Math.exp(-g))) * up[j]))
}

/**
 * Mean over rows of |top-k(exact) ∩ top-k'(predicted)| / k (HiRE, arXiv 2402.09360): what a predictor finds of the
 * neurons that count. One k and several k' ≥ k; rows may come in chunks.
 */
export class Recall {
  private readonly hits: Float64Array
  private rows = 0
  readonly width: number
  readonly k: number
  readonly overselected: readonly number[]

  constructor(width: number, k: number, overselected: readonly number[]) {
    if (!(k >= 1 && overselected.every((kPrime) => kPrime >= k && kPrime <= width)))
      throw new ShapeError(
        `Cannot measure recall of ${k} in ${overselected.join(', ')} of ${width}: wanted 1 ≤ k ≤ k' ≤ n`,
      )
    this.width = width
    this.k = k
    this.overselected = overselected
    this.hits = new Float64Array(overselected.length)
  }

  /** Adds rows of exact and predicted scores, both (rows, width). */
  add(exact: Float32Array, predicted: Float32Array): void {
    const { width, k } = this
    if (exact.length !== predicted.length || exact.length % width !== 0)
      throw new ShapeError(`Cannot compare ${exact.length} with ${predicted.length} scores in rows of ${width}`)
    const [wanted, found, scratch] = [new Uint8Array(width), new Uint8Array(width), new Float32Array(width)]
    for (let row = 0; row < exact.length; row += width) {
      markTopK(exact.subarray(row, row + width), k, wanted, scratch)
      for (const [i, kPrime] of this.overselected.entries()) {
        markTopK(predicted.subarray(row, row + width), kPrime, found, scratch)
        let hits = 0
        for (let j = 0; j < width; j++) hits += wanted[j] & found[j]
        this.hits[i] += hits
      }
    }
    this.rows += exact.length / width
  }

  /** One mean for each k', in the order given. */
  means(): number[] {
    return [...this.hits].map((hits) => hits / (this.rows * this.k))
  }
}

/**
 * Zeroes what is not among the k' largest predicted of each row of z, and, with `cutTo`, not among the `cutTo`
 * largest |z| of those. In place; both (rows, width). Keeping all k' is better for models that were not trained for k.
 */
export function keepPredicted(
  z: Float32Array,
  predicted: Float32Array,
  width: number,
  kPrime: number,
  cutTo?: number,
): void {
  const [kept, scratch, magnitude] = [new Uint8Array(width), new Float32Array(width), new Float32Array(width)]
  for (let row = 0; row < z.length; row += width) {
    const exact = z.subarray(row, row + width)
    markTopK(predicted.subarray(row, row + width), kPrime, kept, scratch)
    for (let j = 0; j < width; j++) if (kept[j] === 0) exact[j] = 0
    if (cutTo === undefined) continue
    for (let j = 0; j < width; j++) magnitude[j] = Math.abs(exact[j])
    markTopK(magnitude, cutTo, kept, scratch)
    for (let j = 0; j < width; j++) if (kept[j] === 0) exact[j] = 0
  }
}

/** Gives the neurons of a static set the highest score in every row of `predicted` (rows, width): always selected. */
export function alwaysSelect(predicted: Float32Array, width: number, always: Int32Array): void {
  for (let row = 0; row < predicted.length; row += width) for (const j of always) predicted[row + j] = Infinity
}
