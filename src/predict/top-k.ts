import { ShapeError } from '../errors.ts'

/**
 * The k largest of `scores`, by falling value, the lowest index first on ties and NaN last. Throws ShapeError unless
 * k is a whole number of [0, n].
 */
export function topKDescending(scores: ArrayLike<number>, k: number): Int32Array {
  assertCount(k, scores.length)
  const key = Float64Array.from(scores, (score) => (Number.isNaN(score) ? -Infinity : score))
  return candidates(key, k).sort((a, b) => key[b] - key[a] || a - b || 0)
}

/** Indices of the k largest by rising index: only those are worth sorting. */
function candidates(key: Float64Array, k: number): Int32Array {
  const marked = new Uint8Array(key.length)
  markTopK(key, k, marked, key.slice())
  const chosen = new Int32Array(k)
  for (let j = 0, at = 0; j < key.length; j++) if (marked[j] === 1) chosen[at++] = j
  return chosen
}

/** The same set by rising index: the order that weights are gathered in. */
export function topK(scores: ArrayLike<number>, k: number): Int32Array {
  return topKDescending(scores, k).sort()
}

/**
 * Marks the k largest of row[0 … n) in `out` (n) with 1, the rest with 0, by a partial selection in O(n): for rows by
 * the thousand. The same set as topK(); scratch (n) is overwritten.
 */
export function markTopK<A extends Float32Array | Float64Array>(row: A, k: number, out: Uint8Array, scratch: A): void {
  const n = row.length
  out.fill(0)
  if (k <= 0) return
  if (k >= n) {
    out.fill(1)
    return
  }
  scratch.set(row)
  const threshold = kthLargest(scratch, k)
  let left = k
  for (let j = 0; j < n; j++)
    if (row[j] > threshold) {
      out[j] = 1
      left--
    }
  for (let j = 0; j < n && left > 0; j++)
    if (row[j] === threshold) {
      out[j] = 1
      left--
    }
}

/** The k-th largest number (1 ≤ k ≤ n) of values without NaN, which are reordered: Hoare's selection. */
export function kthLargest(values: Float32Array | Float64Array, k: number): number {
  let low = 0
  let high = values.length - 1
  const at = k - 1
  while (low < high) {
    const pivot = medianOfThree(values[low], values[(low + high) >> 1], values[high])
    let i = low
    let j = high
    while (i <= j) {
      while (values[i] > pivot) i++
      while (values[j] < pivot) j--
      if (i > j) break
      const held = values[i]
      values[i] = values[j]
      values[j] = held
      i++
      j--
    }
    if (at <= j) high = j
    else if (at >= i) low = i
    else return values[at]
  }
  return values[at]
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
}

function assertCount(k: number, n: number): void {
  if (!Number.isInteger(k) || k < 0 || k > n) throw new ShapeError(`Cannot select ${k} of ${n}: wanted 0 to ${n}`)
}
