import { ShapeError } from '../errors.ts'
import { topK, topKDescending } from './top-k.ts'

export type ShardedTopK = {
  /** The k that came out, by rising index. */
  readonly selected: Int32Array
  /** Share of the true top k among them. */
  readonly recall: number
  /** (value, index) pairs that left their shard, 4 + 4 bytes each; none with one shard. */
  readonly bytesExchanged: number
}

/** A float32 value and an int32 index. */
const PAIR_BYTES = 8

/**
 * DA-TOP-k (HiRE, arXiv 2402.09360): scores lie in D contiguous shards, each takes its own top ⌈k / D⌉ + slack, and
 * only those pairs meet, where the best k of them are taken. Exact when ⌈k / D⌉ + slack ≥ k. Throws ShapeError unless
 * 1 ≤ D ≤ n, 0 ≤ k ≤ n and slack ≥ 0.
 */
export function shardedTopK(scores: ArrayLike<number>, k: number, shards: number, slack: number): ShardedTopK {
  const n = scores.length
  if (!(shards >= 1 && shards <= n && slack >= 0 && k >= 0 && k <= n))
    throw new ShapeError(
      `Cannot select ${k} of ${n} over ${shards} shards with slack ${slack}: wanted 0 ≤ k ≤ n, 1 ≤ shards ≤ n, slack ≥ 0`,
    )
  const local = shardCount(k, shards, slack)
  const met = Array.from({ length: shards }, (_, shard): ShardPairs => {
    const [from, to] = shardRange(n, shards, shard)
    return localTopK(
      Float32Array.from({ length: to - from }, (_unused, i) => scores[from + i]!),
      from,
      local,
    )
  })
  const selected = mergeShards(met, k)
  const wanted = new Set(topK(scores, k))
  const hits = selected.reduce((count, j) => count + Number(wanted.has(j)), 0)
  return {
    selected,
    recall: k === 0 ? 1 : hits / k,
    bytesExchanged: shards === 1 ? 0 : met.reduce((sum, { indices }) => sum + indices.length, 0) * PAIR_BYTES,
  }
}

/** What leaves a shard: its largest scores with their indices among all. */
export type ShardPairs = { readonly values: Float32Array; readonly indices: Int32Array }

/** Pairs that each shard sends. */
export function shardCount(k: number, shards: number, slack: number): number {
  return Math.ceil(k / shards) + slack
}

/** Rows [from, to) of n that belong to a shard. */
export function shardRange(n: number, shards: number, shard: number): [number, number] {
  return [Math.floor((shard * n) / shards), Math.floor(((shard + 1) * n) / shards)]
}

/** The `count` largest scores of a shard that begins at index `from`. */
export function localTopK(own: Float32Array, from: number, count: number): ShardPairs {
  const best = topKDescending(own, Math.min(count, own.length))
  return { values: Float32Array.from(best, (i) => own[i]!), indices: best.map((i) => from + i) }
}

/** The k best of what the shards sent, by rising index; ties go to the lowest index as everywhere. */
export function mergeShards(met: readonly ShardPairs[], k: number): Int32Array {
  const pairs = met.flatMap(({ values, indices }) => Array.from(indices, (index, i) => ({ index, value: values[i]! })))
  pairs.sort((a, b) => a.index - b.index)
  const best = topKDescending(
    pairs.map(({ value }) => value),
    Math.min(k, pairs.length),
  )
  return Int32Array.from(best, (i) => pairs[i]!.index).sort()
}
