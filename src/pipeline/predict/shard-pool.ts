import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { ShapeError, SpexpandError } from '../../errors.ts'
import type { ShardPairs } from '../../predict/shards.ts'
import { mergeShards, shardCount, shardRange } from '../../predict/shards.ts'
import type { Mat } from '../../tensor/mat.ts'
import type { ShardData, ShardRequest } from './shard-worker.ts'

/** DA-TOP-k over worker threads: W lies in shards of rows, one a thread, and only (value, index) pairs come back. */
export type ShardPool = {
  /**
   * The k largest of W x by rising index, from the top ⌈k / D⌉ + slack of each shard: the selection of shardedTopK().
   * `bytes`: what came back from the threads. One call at a time.
   */
  topK(x: Float32Array, k: number, slack: number): Promise<{ readonly selected: Int32Array; readonly bytes: number }>
  close(): Promise<void>
}

/** Starts the threads and gives each its rows. Throws ShapeError unless 1 ≤ shards ≤ rows. */
export function openShardPool(W: Mat, shards: number): ShardPool {
  if (!(Number.isInteger(shards) && shards >= 1 && shards <= W.rows))
    throw new ShapeError(`Cannot lay ${W.rows} rows into ${shards} shards: wanted 1 to ${W.rows}`)
  const workers = Array.from({ length: shards }, (_, shard) => {
    const [from, to] = shardRange(W.rows, shards, shard)
    const rows = W.data.slice(from * W.cols, to * W.cols)
    const data: ShardData = { rows, width: W.cols, from }
    return new Worker(workerUrl(), { workerData: data, transferList: [rows.buffer] })
  })
  return {
    async topK(x, k, slack) {
      if (x.length !== W.cols) throw new ShapeError(`Cannot multiply rows of ${W.cols} by ${x.length} numbers`)
      const request: ShardRequest = { x, count: shardCount(k, shards, slack) }
      const met = await Promise.all(workers.map((worker) => answerOf(worker, request)))
      const bytes = met.reduce((sum, { values, indices }) => sum + values.byteLength + indices.byteLength, 0)
      return { selected: mergeShards(met, k), bytes }
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.terminate()))
    },
  }
}

async function answerOf(worker: Worker, request: ShardRequest): Promise<ShardPairs> {
  const answer = once(worker, 'message')
  worker.postMessage(request, [])
  try {
    return ((await answer) as [ShardPairs])[0]
  } catch (cause) {
    throw new SpexpandError('bug', `A shard stopped: ${(cause as Error).message}`, { cause })
  }
}

/** Node runs the built worker, also when this file is run from its TypeScript source (tests build first). */
function workerUrl(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('../../../dist/src/pipeline/predict/shard-worker.js', import.meta.url)
    : new URL('./shard-worker.js', import.meta.url)
}
