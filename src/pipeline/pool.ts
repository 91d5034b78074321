import { Worker } from 'node:worker_threads'
import type { ErrorKind } from '../errors.ts'
import { InterruptedError, ResourceError, SpexpandError } from '../errors.ts'
import type { EngineInit, Job, JobResult } from './jobs.ts'

/** Runs jobs somewhere: the worker threads of this process, or anything that can move plain data. */
export interface JobRunner {
  /** Jobs start in the order they are given. Rejects with the job's error, or InterruptedError after an abort. */
  run<J extends Job>(job: J): Promise<JobResult<J>>
  close(): Promise<void>
}

export type WorkerRequest = { readonly id: number; readonly job: Job }
export type WorkerReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: { kind: ErrorKind; message: string; stack?: string } }

type Waiting = { job: Job; resolve: (value: never) => void; reject: (reason: unknown) => void }

/** A pool of single-threaded workers; each opens the model and keeps its own sessions and WebAssembly memory. */
export class WorkerPool implements JobRunner {
  private readonly queue: Waiting[] = []
  private readonly idle: Worker[] = []
  private readonly busy = new Map<Worker, Waiting>()
  private failure: SpexpandError | undefined
  private readonly signal: AbortSignal | undefined
  private readonly onAbort = (): void => this.fail(new InterruptedError('Interrupted'))

  constructor(threads: number, init: EngineInit, signal?: AbortSignal) {
    this.signal = signal
    for (let i = 0; i < threads; i++) this.idle.push(this.start(init))
    signal?.addEventListener('abort', this.onAbort)
    if (signal?.aborted) this.onAbort()
  }

  run<J extends Job>(job: J): Promise<JobResult<J>> {
    return new Promise((resolve, reject) => {
      if (this.failure) return reject(this.failure)
      this.queue.push({ job, resolve: resolve as (value: never) => void, reject })
      this.dispatch()
    })
  }

  async close(): Promise<void> {
    this.signal?.removeEventListener('abort', this.onAbort)
    this.failure ??= new SpexpandError('bug', 'The worker pool is closed')
    await Promise.all([...this.idle, ...this.busy.keys()].map((worker) => worker.terminate()))
  }

  private start(init: EngineInit): Worker {
    const worker = new Worker(workerUrl(), { workerData: init })
    worker.on('message', (reply: WorkerReply) => this.settle(worker, reply))
    worker.on('error', (cause) => this.fail(workerFailure(cause)))
    return worker
  }

  private dispatch(): void {
    while (this.queue.length > 0 && this.idle.length > 0) {
      const worker = this.idle.shift()!
      const waiting = this.queue.shift()!
      this.busy.set(worker, waiting)
      worker.postMessage({ id: 0, job: waiting.job } satisfies WorkerRequest, transferables(waiting.job))
    }
  }

  private settle(worker: Worker, reply: WorkerReply): void {
    const waiting = this.busy.get(worker)
    if (!waiting) return
    this.busy.delete(worker)
    this.idle.push(worker)
    if ('error' in reply) waiting.reject(revive(reply.error))
    else waiting.resolve(reply.result as never)
    this.dispatch()
  }

  /** Nothing that waits can be finished any more. */
  private fail(failure: SpexpandError): void {
    this.failure ??= failure
    for (const { reject } of [...this.queue.splice(0), ...this.busy.values()]) reject(this.failure)
  }
}

/** H is handed over, not copied: it is the largest thing that a job carries, and nobody needs it afterwards. */
function transferables(job: Job): ArrayBuffer[] {
  return job.kind === 'solve' ? [job.sum.buffer as ArrayBuffer] : []
}

function revive(error: { kind: ErrorKind; message: string; stack?: string }): SpexpandError {
  const revived = new SpexpandError(error.kind, error.message)
  if (error.stack) revived.stack = error.stack
  return revived
}

function workerFailure(cause: Error): SpexpandError {
  return (cause as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY'
    ? new ResourceError('A worker ran out of memory: lower --threads or --memory', { cause })
    : new SpexpandError('bug', `A worker stopped: ${cause.message}`, { cause })
}

/** Node runs the built worker, also when this file is run from its TypeScript source (tests build first). */
function workerUrl(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('../../dist/src/pipeline/worker.js', import.meta.url)
    : new URL('./worker.js', import.meta.url)
}
