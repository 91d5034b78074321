import { ShapeError } from '../errors.ts'
import { topKDescending } from './top-k.ts'

/**
 * An order of n neurons that puts those that are active together side by side, in groups of g: a group begins with
 * the most active neuron left and takes, one by one, the neuron left that has most activity in common with the group
 * so far; ties by index. `common` (n, n), symmetric: how often (or how much) i and j are active together, i's own
 * activity on the diagonal.
 */
export function coActivationOrder(common: Float32Array, n: number, g: number): Int32Array {
  if (common.length !== n * n || !(g >= 1))
    throw new ShapeError(`Cannot group ${n} neurons by ${g} from ${common.length} counts: wanted (${n}, ${n})`)
  const order = new Int32Array(n)
  const isFree = new Uint8Array(n).fill(1)
  const pull = new Float64Array(n)
  for (let at = 0; at < n; at++) {
    const isFirst = at % g === 0
    if (isFirst) pull.fill(0)
    let best = -1
    let most = -Infinity
    for (let j = 0; j < n; j++) {
      const value = isFirst ? common[j * n + j] : pull[j]
      if (isFree[j] === 1 && value > most) {
        most = value
        best = j
      }
    }
    order[at] = best
    isFree[best] = 0
    for (let j = 0; j < n; j++) pull[j] += common[best * n + j]
  }
  return order
}

/** Rows of W (n, cols) in a new order: row i of the result is row order[i]. */
export function permuteRows(W: Float32Array, order: Int32Array): Float32Array {
  const cols = W.length / order.length
  const out = new Float32Array(W.length)
  for (const [i, from] of order.entries()) out.set(W.subarray(from * cols, (from + 1) * cols), i * cols)
  return out
}

/** Columns of W (rows, n) in a new order: with permuteRows() of gate and up, the FF layer stays the same function. */
export function permuteColumns(W: Float32Array, order: Int32Array): Float32Array {
  const n = order.length
  const out = new Float32Array(W.length)
  for (let row = 0; row < W.length; row += n) for (let i = 0; i < n; i++) out[row + i] = W[row + order[i]]
  return out
}

/**
 * Whole groups of g neighbours, ⌊kPrime / g⌋ of them and at least one, by the sum of squares of their scores (n); the
 * last group may be smaller. Rising neuron indices.
 */
export function topGroups(scores: Float32Array, kPrime: number, g: number): Int32Array {
  const groups = Math.ceil(scores.length / g)
  const sums = new Float64Array(groups)
  for (let j = 0; j < scores.length; j++) sums[Math.floor(j / g)] += scores[j] * scores[j]
  const chosen = topKDescending(sums, Math.max(1, Math.min(groups, Math.floor(kPrime / g)))).sort()
  return Int32Array.from(
    [...chosen].flatMap((group) =>
      Array.from({ length: Math.min(g, scores.length - group * g) }, (_, i) => group * g + i),
    ),
  )
}
