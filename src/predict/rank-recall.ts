import { ShapeError } from '../errors.ts'
import { markTopK } from './top-k.ts'

/**
 * Recall of the true top k for every k' at once: a histogram of the places that the neurons that count have in the
 * prediction. A place is counted with all equal predictions before it, so ties never flatter.
 */
export class RankRecall {
  readonly width: number
  readonly k: number
  private readonly places: Float64Array
  private readonly sorted: Float32Array
  private readonly wanted: Uint8Array
  private rows = 0

  constructor(width: number, k: number) {
    if (!(Number.isInteger(k) && k >= 1 && k <= width))
      throw new ShapeError(`Cannot measure recall of ${k} in ${width} neurons: wanted 1 to ${width}`)
    this.width = width
    this.k = k
    this.places = new Float64Array(width)
    this.sorted = new Float32Array(width)
    this.wanted = new Uint8Array(width)
  }

  /** Adds rows of exact and predicted scores, both (rows, width), none of them NaN. */
  add(exact: Float32Array, predicted: Float32Array): void {
    const { width, sorted, wanted, places } = this
    if (exact.length !== predicted.length || exact.length % width !== 0)
      throw new ShapeError(`Cannot compare ${exact.length} with ${predicted.length} scores in rows of ${width}`)
    for (let row = 0; row < exact.length; row += width) {
      markTopK(exact.subarray(row, row + width), this.k, wanted, sorted)
      sorted.set(predicted.subarray(row, row + width))
      sorted.sort()
      for (let j = 0; j < width; j++)
        if (wanted[j] === 1) places[width - 1 - firstAtLeast(sorted, predicted[row + j])]++
    }
    this.rows += exact.length / width
  }

  /** Mean share of the true top k among the k' predicted. */
  at(kPrime: number): number {
    let hits = 0
    for (let place = 0; place < Math.min(kPrime, this.width); place++) hits += this.places[place]
    return hits / (this.rows * this.k)
  }

  /** The smallest k' ≥ k, a multiple of `step` or the width, whose recall is at least `wanted`. */
  smallest(wanted: number, step = 1): number {
    const needed = wanted * this.rows * this.k
    let hits = 0
    for (let place = 0; place < this.width; place++) {
      hits += this.places[place]
      const kPrime = place + 1
      // Sums of whole numbers: only `needed` is rounded.
      if (kPrime >= this.k && kPrime % step === 0 && hits >= needed - 1e-6) return kPrime
    }
    return this.width
  }
}

/** Index of the first number ≥ value in ascending numbers. */
function firstAtLeast(sorted: Float32Array, value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle] < value) low = middle + 1
    else high = middle
  }
  return low
}
