import { shardedTopK } from '../../predict/shards.ts'

/** DA-TOP-k of the k largest logits over D shards of rows, mean over tokens. */
export type ShardRow = {
  readonly shards: number
  /** Pairs that every shard sends beyond its share of k. */
  readonly slack: number
  /** Recall with contiguous rows, and with rows dealt out in turn (row i to shard i mod D). */
  readonly contiguous: number
  readonly dealt: number
  /** Bytes that leave all shards together for one token. */
  readonly bytes: number
}

const SHARDS = [1, 2, 4, 8, 16, 32, 64]
const SLACKS = [0, 4, 8]

/** How well the top k of some rows of logits are found over 1 to 64 shards. */
export function shardTable(rows: readonly Float32Array[], k: number): ShardRow[] {
  const n = rows[0]!.length
  return SHARDS.filter((shards) => shards <= n).flatMap((shards) => {
    const dealt = rows.map((row) => dealtOut(row, shards))
    return (shards === 1 ? [0] : SLACKS).map((slack): ShardRow => {
      const [one, other] = [rows, dealt].map((all) => all.map((row) => shardedTopK(row, k, shards, slack)))
      const mean = (results: typeof one): number => results!.reduce((sum, { recall }) => sum + recall, 0) / rows.length
      return { shards, slack, contiguous: mean(one), dealt: mean(other), bytes: one![0]!.bytesExchanged }
    })
  })
}

/** Rows in the order that puts row i into shard i mod D of contiguous ones. */
function dealtOut(row: Float32Array, shards: number): Float32Array {
  const out = new Float32Array(row.length)
  let at = 0
  for (let shard = 0; shard < shards; shard++) for (let i = shard; i < row.length; i += shards) out[at++] = row[i]!
  return out
}
