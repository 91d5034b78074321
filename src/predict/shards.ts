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
  const local = Math.ceil(k / shards) + slack
  const met: number[] = []
  for (let shard = 0; shard < shards; shard++) {
    const [from, to] = [shard, shard + 1].map((s) => Math.floor((s * n) / shards)) as [number, number]
    const own = Array.from({ length: to - from }, (_, i) => scores[from + i]!)
    for (const i of topKDescending(own, Math.min(local, own.length))) met.push(from + i)
  }
  // By index first, so that ties go to the lowest index as everywhere.
  met.sort((a, b) => a - b)
  const best = topKDescending(
    met.map((j) => scores[j]!),
    Math.min(k, met.length),
  )
  const selected = Int32Array.from(best, (i) => met[i]!).sort()
  const wanted = new Set(topK(scores, k))
  const hits = selected.reduce((count, j) => count + Number(wanted.has(j)), 0)
  return {
    selected,
    recall: k === 0 ? 1 : hits / k,
    bytesExchanged: shards === 1 ? 0 : met.length * PAIR_BYTES,
  }
}
