// Entry of a worker thread: jobs in, results out, one at a time.
import { parentPort, workerData } from 'node:worker_threads'
import { SpexpandError } from '../errors.ts'
import { Engine } from './engine.ts'
import type { EngineInit } from './jobs.ts'
import type { WorkerReply, WorkerRequest } from './pool.ts'

const port = parentPort!
const engine = new Engine(workerData as EngineInit)

port.on('message', async ({ id, job }: WorkerRequest) => {
  try {
    const { result, transfer } = await engine.run(job)
    port.postMessage({ id, result } satisfies WorkerReply, transfer)
  } catch (error) {
    port.postMessage({ id, error: plain(error) } satisfies WorkerReply)
  }
})

/** Errors lose their class on the way to another thread: kind and message are what matters. */
function plain(error: unknown): { kind: SpexpandError['kind']; message: string; stack?: string } {
  if (error instanceof SpexpandError) return { kind: error.kind, message: error.message }
  const cause = error instanceof Error ? error : new Error(String(error))
  const kind = /alloc|memory/i.test(cause.message) ? 'resources' : 'bug'
  return { kind, message: cause.message, ...(cause.stack ? { stack: cause.stack } : {}) }
}
