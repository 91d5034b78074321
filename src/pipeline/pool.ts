import { Worker } from 'node:worker_threads'
import type { ErrorKind } from '../errors.ts'
import { InterruptedError, ResourceError, SpexpandError } from '../errors.ts'
import { isRepeatable, jobName } from './job-name.ts'
import type { EngineInit, Job, JobResult } from './jobs.ts'
import type { Fallback } from './types.ts'
import { Written } from './written.ts'

/** Runs jobs somewhere: the worker threads of this process, or anything that can move plain data. */
export interface JobRunner {
  /**
   * Jobs start in the order they are given. A job whose worker dies, or throws what is no SpexpandError, is run once more
   * on a fresh worker; `remake` makes it anew where its data went away with the worker. Rejects with the job's error, or
   * InterruptedError after an abort.
   */
  run<J extends Job>(job: J, remake?: () => Promise<J>): Promise<JobResult<J>>
  close(): Promise<void>
}

export type WorkerRequest = { readonly id: number; readonly job: Job; readonly written: SharedArrayBuffer }
export type WorkerReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: WorkerError }
/** `internal`: nothing that a job is meant to throw; what the worker holds is not to be trusted after it. */
export type WorkerError = { kind: ErrorKind; message: string; stack?: string; internal?: boolean }

type Waiting = {
  readonly job: Job
  readonly remake: (() => Promise<Job>) | undefined
  readonly resolve: (value: never) => void
  readonly reject: (reason: unknown) => void
  readonly written: Written
  /** Why it is run for the second time. */
  readonly again?: string
}

export type PoolOptions = {
  readonly signal?: AbortSignal | undefined
  /** Module of the workers. @default the Engine's */
  readonly entry?: URL
  /** Hears of every job that is run again. */
  readonly onRetry?: (retry: Fallback) => void
}

/** A pool of single-threaded workers; each opens the model and keeps its own sessions and WebAssembly memory. */
export class WorkerPool implements JobRunner {
  private readonly queue: Waiting[] = []
  private readonly idle: Worker[] = []
  private readonly busy = new Map<Worker, Waiting>()
  /** What workers threw on their way out: 'exit' comes after 'error', and alone where nothing was thrown. */
  private readonly dying = new Map<Worker, Error>()
  private failure: SpexpandError | undefined
  private readonly init: EngineInit
  private readonly options: PoolOptions
  private readonly onAbort = (): void => this.fail(new InterruptedError('Interrupted'))

  constructor(threads: number, init: EngineInit, options: PoolOptions = {}) {
    this.init = init
    this.options = options
    for (let i = 0; i < threads; i++) this.idle.push(this.start())
    options.signal?.addEventListener('abort', this.onAbort)
    if (options.signal?.aborted) this.onAbort()
  }

  run<J extends Job>(job: J, remake?: () => Promise<J>): Promise<JobResult<J>> {
    return new Promise((resolve, reject) => {
      if (this.failure) return reject(this.failure)
      this.queue.push({ job, remake, resolve: resolve as (value: never) => void, reject, written: new Written() })
      this.dispatch()
    })
  }

  async close(): Promise<void> {
    this.options.signal?.removeEventListener('abort', this.onAbort)
    this.failure ??= new SpexpandError('bug', 'The worker pool is closed')
    await Promise.all([...this.idle, ...this.busy.keys()].map((worker) => worker.terminate()))
  }

  private start(): Worker {
    const worker = new Worker(this.options.entry ?? workerUrl(), { workerData: this.init })
    worker.on('message', (reply: WorkerReply) => this.settle(worker, reply))
    worker.on('error', (cause) => this.dying.set(worker, cause))
    worker.on('exit', (code) => this.lost(worker, code))
    return worker
  }

  private dispatch(): void {
    while (this.queue.length > 0 && this.idle.length > 0) {
      const worker = this.idle.shift()!
      const waiting = this.queue.shift()!
      this.busy.set(worker, waiting)
      const { job, written } = waiting
      worker.postMessage({ id: 0, job, written: written.buffer } satisfies WorkerRequest, transferables(job))
    }
  }

  private settle(worker: Worker, reply: WorkerReply): void {
    const waiting = this.busy.get(worker)
    if (!waiting) return
    this.busy.delete(worker)
    if ('error' in reply && reply.error.internal && !this.failure) {
      void worker.terminate()
      this.idle.push(this.start())
      this.again(waiting, revive(reply.error))
    } else {
      this.idle.push(worker)
      if ('error' in reply) waiting.reject(revive(reply.error))
      else waiting.resolve(reply.result as never)
    }
    this.dispatch()
  }

  /** A worker is gone: expected after close() and after an internal error, a crash otherwise. */
  private lost(worker: Worker, code: number): void {
    const cause = workerFailure(this.dying.get(worker), code)
    this.dying.delete(worker)
    const waiting = this.busy.get(worker)
    const at = this.idle.indexOf(worker)
    if (this.failure || (!waiting && at < 0)) return
    // It died with nothing to do: before its first job, so another one would fare no better.
    if (!waiting) return this.fail(cause)
    this.busy.delete(worker)
    this.idle.push(this.start())
    this.again(waiting, cause)
    this.dispatch()
  }

  /** Runs a job for the second time, before all others; a job that cannot be is reported with its name. */
  private again({ again, ...waiting }: Waiting, cause: SpexpandError): void {
    const name = jobName(waiting.job)
    const because = cause.message
    if (this.failure) return waiting.reject(this.failure)
    if (again !== undefined)
      return waiting.reject(
        crash(cause, `Cannot finish the job '${name}': it failed on two workers: ${again}; ${because}`),
      )
    if (waiting.written.isTorn || !isRepeatable(waiting.job))
      return waiting.reject(
        crash(
          cause,
          `Cannot finish the job '${name}': its worker died while it wrote: ${because}: run the same command again`,
        ),
      )
    this.options.onRetry?.({ where: name, what: 'run again on a fresh worker', because })
    const queue = (job: Job): void => {
      if (this.failure) return waiting.reject(this.failure)
      this.queue.unshift({ ...waiting, job, again: because })
      this.dispatch()
    }
    if (!waiting.remake) queue(waiting.job)
    else waiting.remake().then(queue, waiting.reject)
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

function revive(error: WorkerError): SpexpandError {
  const revived = new SpexpandError(error.kind, error.message)
  if (error.stack) revived.stack = error.stack
  return revived
}

function crash(cause: SpexpandError, message: string): SpexpandError {
  return new SpexpandError(cause.kind, message, { cause })
}

function workerFailure(cause: Error | undefined, code: number): SpexpandError {
  if (!cause) return new SpexpandError('bug', `A worker stopped with exit code ${code}`)
  return (cause as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY'
    ? new ResourceError('A worker ran out of memory: lower --threads', { cause })
    : new SpexpandError('bug', `A worker stopped: ${cause.message}`, { cause })
}

/** Node runs the built worker, also when this file is run from its TypeScript source (tests build first). */
function workerUrl(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('../../dist/src/pipeline/worker.js', import.meta.url)
    : new URL('./worker.js', import.meta.url)
}
