import { ShapeError } from '../errors.ts'
import { countScores } from './scores.ts'

/** Share of the neurons that count for a token, where tokens are counted. */
const COUNTED_SHARE = 0.25

/**
 * GRIFFIN's statistic of one sequence (arXiv 2404.01365): every token's activations z are divided by
 * their L2 norm, and s_j is the L2 norm of what neuron j has of them over all tokens. Rows may come in chunks, as a
 * chunked prompt brings them. A token whose activations are all 0 adds nothing (the paper's formula divides 0 by 0
 * there).
 */
export class GriffinStatistic {
  /** Σ over tokens of (z_j / ‖z‖)²; (ff). */
  readonly squares: Float64Array
  /** Tokens that have a neuron among their largest |z|; (ff), all 0 where nobody counted. */
  readonly counts: Float64Array
  private seen = 0

  constructor(ff: number) {
    this.squares = new Float64Array(ff)
    this.counts = new Float64Array(ff)
  }

  /** Tokens added so far. */
  get tokens(): number {
    return this.seen
  }

  /** Adds the rows of Z (tokens, ff), row-major. Throws ShapeError when they are no whole rows. */
  add(Z: Float32Array): void {
    const { squares } = this
    const ff = squares.length
    if (Z.length % ff !== 0)
      throw new ShapeError(`Cannot add ${Z.length} activations to a statistic of ${ff} neurons: wanted whole rows`)
    for (let row = 0; row < Z.length; row += ff) {
      let square = 0
      for (let j = 0; j < ff; j++) square += Z[row + j] * Z[row + j]
      if (square === 0) continue
      const scale = 1 / square
      for (let j = 0; j < ff; j++) squares[j] += Z[row + j] * Z[row + j] * scale
    }
    this.seen += Z.length / ff
  }

  /**
   * Adds the squares of `tokens` tokens that somebody else has summed up, a graph for instance. Throws ShapeError for
   * another number of neurons.
   */
  addSquares(squares: Float32Array | Float64Array, tokens: number): void {
    if (squares.length !== this.squares.length)
      throw new ShapeError(`Cannot add ${squares.length} squares to a statistic of ${this.squares.length} neurons`)
    for (let j = 0; j < squares.length; j++) this.squares[j] += squares[j]
    this.seen += tokens
  }

  /** Counts the neurons of rows of Z (tokens, ff) beside add(): countedNeurons() of every token. */
  count(Z: Float32Array): void {
    this.addCounts(countScores(Z, this.counts.length, countedNeurons(this.counts.length)))
  }

  /** Adds counts (ff) that somebody else has made. Throws ShapeError for another number of neurons. */
  addCounts(counts: Float32Array | Float64Array): void {
    if (counts.length !== this.counts.length)
      throw new ShapeError(`Cannot add ${counts.length} counts to a statistic of ${this.counts.length} neurons`)
    for (let j = 0; j < counts.length; j++) this.counts[j] += counts[j]
  }

  /** s (ff). */
  scores(): Float64Array {
    return this.squares.map((square) => Math.sqrt(square))
  }
}

/**
 * One statistic for several sequences that must share a set: Σ_i s_i / √(tokens of i). Σ_j s_ij² is the number of
 * tokens, so every sequence counts the same, however long it is. Sequences without tokens add nothing.
 */
export function sharedScores(sequences: readonly GriffinStatistic[]): Float64Array {
  if (sequences.length === 0) throw new ShapeError('Cannot share a statistic of no sequences: wanted at least one')
  const shared = new Float64Array(sequences[0]!.squares.length)
  for (const sequence of sequences) {
    if (sequence.squares.length !== shared.length)
      throw new ShapeError(`Cannot share statistics of ${shared.length} and ${sequence.squares.length} neurons`)
    if (sequence.tokens === 0) continue
    const scale = 1 / Math.sqrt(sequence.tokens)
    for (let j = 0; j < shared.length; j++) shared[j] += scale * Math.sqrt(sequence.squares[j])
  }
  return shared
}

/** Neurons that one token counts: a quarter of them. */
export function countedNeurons(ff: number): number {
  return keptNeurons(ff, COUNTED_SHARE)
}

/** Neurons kept at a density: ⌊ff · density⌋, at least one. The last bit of 0.29 · 100 must not cost a neuron. */
export function keptNeurons(ff: number, density: number): number {
  return Math.max(1, Math.floor(ff * density + 1e-9))
}
