import { ShapeError } from '../errors.ts'
import { createRng } from '../linalg/rng.ts'

/** Tokens in pairs: `first[i]` and `second[i]`; no token is in two pairs. */
export type Pairs = { readonly first: Uint32Array; readonly second: Uint32Array }

/** min(count, ⌊n/2⌋) random disjoint pairs of [0, n), by a partial shuffle: the same seed gives the same pairs. */
export function drawPairs(n: number, count: number, seed: number): Pairs {
  const pairs = Math.min(count, Math.floor(n / 2))
  const rng = createRng(seed)
  const moved = new Map<number, number>() // a sparse permutation: position → value, where it is not the identity
  const draw = (position: number): number => {
    const other = position + rng.integer(n - position)
    const value = moved.get(other) ?? other
    moved.set(other, moved.get(position) ?? position)
    return value
  }
  const drawn = Uint32Array.from({ length: 2 * pairs }, (_, i) => draw(i))
  return { first: drawn.filter((_, i) => i % 2 === 0), second: drawn.filter((_, i) => i % 2 === 1) }
}

/**
 * MD of neurons (arXiv 2405.15756, eq. 2): over pairs of tokens the mean of (|Δy| / median |Δy|) / (‖Δx‖ / max ‖Δx‖).
 * `dy` (neurons, pairs) differences of outputs, `dx` (pairs) distances of inputs. Pairs of equal inputs say nothing about
 * the mapping and are left out; a neuron whose median difference is 0 gets NaN. Throws ShapeError.
 */
export function mappingDifficulty(dy: Float32Array, dx: Float64Array): Float64Array {
  const pairs = dx.length
  if (pairs === 0 || dy.length % pairs !== 0)
    throw new ShapeError(`Cannot measure MD: ${dy.length} output differences are not a multiple of ${pairs} pairs`)
  const far = dx.reduce((max, d) => Math.max(max, d), 0)
  const used = Int32Array.from(dx.keys()).filter((i) => dx[i]! > 0)
  const weights = Float64Array.from(used, (i) => far / dx[i]!)
  const absolute = new Float32Array(used.length)
  return Float64Array.from({ length: dy.length / pairs }, (_, neuron) => {
    let sum = 0
    for (let i = 0; i < used.length; i++) {
      absolute[i] = Math.abs(dy[neuron * pairs + used[i]!]!)
      sum += absolute[i]! * weights[i]!
    }
    const middle = median(absolute)
    return middle > 0 ? sum / used.length / middle : NaN
  })
}

/**
 * The median of numbers, whose order is changed; the mean of the two middle ones when their count is even. NaN of nothing.
 */
export function median(values: Float32Array): number {
  const n = values.length
  if (n === 0) return NaN
  const upper = select(values, n >> 1)
  if (n % 2 === 1) return upper
  // select() leaves everything below the upper middle in front of it.
  let lower = values[0]!
  for (let i = 1; i < n >> 1; i++) if (values[i]! > lower) lower = values[i]!
  return (lower + upper) / 2
}

/** The k-th smallest number (Hoare's quickselect); smaller ones end up before it. Ten times as fast as sorting. */
function select(values: Float32Array, k: number): number {
  let low = 0
  let high = values.length - 1
  while (low < high) {
    const pivot = values[(low + high) >> 1]!
    let i = low
    let j = high
    while (i <= j) {
      while (values[i]! < pivot) i++
      while (values[j]! > pivot) j--
      if (i <= j) {
        const held = values[i]!
        values[i++] = values[j]!
        values[j--] = held
      }
    }
    if (k <= j) high = j
    else if (k >= i) low = i
    else break
  }
  return values[k]!
}
