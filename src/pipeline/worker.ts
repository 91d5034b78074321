// Entry of a worker thread: jobs in, results out, one at a time.
import { parentPort, workerData } from 'node:worker_threads'
import { SpexpandError } from '../errors.ts'
import { Engine } from './engine.ts'
import type { EngineInit } from './jobs.ts'
import type { WorkerError, WorkerReply, WorkerRequest } from './pool.ts'
import { Written } from './written.ts'

const port = parentPort!
const engine = new Engine(workerData as EngineInit)

port.on('message', async ({ id, job, written }: WorkerRequest) => {
  try {
    const { result, transfer } = await engine.run(job, new Written(written))
    port.postMessage({ id, result } satisfies WorkerReply, transfer)
  } catch (error) {
    port.postMessage({ id, error: plain(error) } satisfies WorkerReply)
  }
})

/** Errors lose their class on the way to another thread: kind and message are what matters. */
function plain(error: unknown): WorkerError {
  if (error instanceof SpexpandError) return { kind: error.kind, message: error.message }
  const cause = error instanceof Error ? error : new Error(String(error))
  const kind = /alloc|memory/i.test(cause.message) ? 'resources' : 'bug'
  return { kind, message: cause.message, internal: true, ...(cause.stack ? { stack: cause.stack } : {}) }
}
