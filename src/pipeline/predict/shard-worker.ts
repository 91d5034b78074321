// Entry of a worker thread that holds some rows of a matrix: a vector in, its largest products out.
import { parentPort, workerData } from 'node:worker_threads'
import { localTopK } from '../../predict/shards.ts'

export type ShardData = { readonly rows: Float32Array; readonly width: number; readonly from: number }
export type ShardRequest = { readonly x: Float32Array; readonly count: number }

const { rows, width, from } = workerData as ShardData
const scores = new Float32Array(rows.length / width)

parentPort!.on('message', ({ x, count }: ShardRequest) => {
  for (let i = 0, at = 0; i < scores.length; i++) {
    let sum = 0
    for (let j = 0; j < width; j++, at++) sum += rows[at] * x[j]
    scores[i] = sum
  }
  const { values, indices } = localTopK(scores, from, count)
  parentPort!.postMessage({ values, indices }, [values.buffer as ArrayBuffer, indices.buffer as ArrayBuffer])
})
