import { ShapeError } from '../errors.ts'
import { markTopK } from './top-k.ts'

// Other scores than GRIFFIN's statistic, to compare with it.

/** L2 norm of every row of W (rows, cols). */
export function rowNorms(W: Float32Array, rows: number): Float64Array {
  const cols = W.length / rows
  return Float64Array.from({ length: rows }, (_, i) => {
    let square = 0
    for (let j = i * cols, end = j + cols; j < end; j++) square += W[j] * W[j]
    return Math.sqrt(square)
  })
}

/** L2 norm of every column of W (rows, cols): of each neuron's weights in a down projection (hidden, ff). */
export function columnNorms(W: Float32Array, cols: number): Float64Array {
  const squares = new Float64Array(cols)
  for (let at = 0; at < W.length; at += cols) for (let j = 0; j < cols; j++) squares[j] += W[at + j] * W[at + j]
  return squares.map((square) => Math.sqrt(square))
}

/** The static baseline of GRIFFIN's paper: ‖gate_j‖ · ‖up_j‖, both (ff, hidden); needs no text. */
export function magnitudeScores(gate: Float32Array, up: Float32Array, ff: number): Float64Array {
  const norms = rowNorms(up, ff)
  return rowNorms(gate, ff).map((norm, j) => norm * norms[j])
}

/** a · b, neuron by neuron. Throws ShapeError for another number of neurons. */
export function timesNorms(scores: Float64Array, norms: Float64Array): Float64Array {
  if (scores.length !== norms.length)
    throw new ShapeError(`Cannot weight scores of ${scores.length} neurons by ${norms.length} norms`)
  return scores.map((score, j) => score * norms[j])
}

/**
 * How many tokens of Z (tokens, ff) have each neuron among their `perToken` largest |z|: the counts of CoreInfer, to
 * compare with. CoreInfer looks at positive activations of ReLU-like models only; gated ones have both signs. A neuron
 * that does nothing for a token is not counted, however few others do.
 */
export function countScores(Z: Float32Array, ff: number, perToken: number): Float64Array {
  const counts = new Float64Array(ff)
  const [magnitude, marked, scratch] = [new Float32Array(ff), new Uint8Array(ff), new Float32Array(ff)]
  for (let row = 0; row < Z.length; row += ff) {
    for (let j = 0; j < ff; j++) magnitude[j] = Math.abs(Z[row + j])
    markTopK(magnitude, perToken, marked, scratch)
    for (let j = 0; j < ff; j++) if (marked[j] === 1 && magnitude[j] > 0) counts[j]++
  }
  return counts
}
