// Solver at 70 %, H given, seconds per solve: compare with the published column loop and its blocked form in PyTorch
// (docs/results.md) measured in the same hour on the same machine. Needs `npm run build` for the worker threads.
import { once as event } from 'node:events'
import { Worker } from 'node:worker_threads'
import { bench, describe } from 'vitest'
import { createRng } from '../../src/linalg/rng.ts'
import type { Solver } from '../../src/prune/sparsegpt.ts'
import { createSolver } from '../../src/prune/sparsegpt.ts'
import { createBlas } from '../../src/runtime/blas.ts'

const THREADS = 2
const pattern = { kind: 'unstructured', sparsity: 0.7 } as const
/** Fixed counts: the machine decides how long it takes, not how often it runs. */
const runs = (
  iterations: number,
): { iterations: number; time: number; warmupIterations: number; warmupTime: number } => ({
  iterations,
  time: 0,
  warmupIterations: 2,
  warmupTime: 0,
})

type Problem = { readonly W: Float32Array; readonly H: Float32Array; readonly outputs: number; readonly inputs: number }

// Made on first use, in the warm-up: hooks of nested suites do not run in benchmark mode.
const blas = once(() => createBlas(THREADS))

describe.each([
  [4096, 4096, 5],
  [4096, 1024, 10],
  [1536, 576, 30],
  [576, 1536, 30],
])('%i x %i, 2 threads', (outputs, inputs, iterations) => {
  const ready = once(async () => {
    const problem = await randomProblem(outputs, inputs)
    const solver = createSolver(await blas(), inputs, outputs)
    await solver.factor(problem.H, inputs)
    return { problem, solver }
  })
  const run = (body: (solver: Solver, problem: Problem) => Promise<unknown>) => async (): Promise<void> => {
    const { solver, problem } = await ready()
    await body(solver, problem)
  }
  bench('factor and sweep', run(solve), runs(iterations))
  bench(
    'factor',
    run((solver, { H }) => solver.factor(H, inputs)),
    runs(iterations),
  )
  bench(
    'sweep',
    run((solver, { W }) => solver.prune(W, outputs, pattern)),
    runs(iterations),
  )
})

describe('16 solves of 1536 x 576', () => {
  const ready = once(async () => {
    const problem = await randomProblem(1536, 576)
    const workers: Worker[] = []
    for (let i = 0; i < THREADS; i++) {
      const worker = new Worker(new URL('solve-worker.mjs', import.meta.url), {
        workerData: { ...problem, sparsity: pattern.sparsity },
      })
      await event(worker, 'message')
      worker.unref()
      workers.push(worker)
    }
    return { problem, solver: createSolver(await createBlas(1), 576, 1536), workers }
  })
  bench(
    'one after another',
    async () => {
      const { solver, problem } = await ready()
      for (let i = 0; i < 16; i++) await solve(solver, problem)
    },
    runs(5),
  )
  bench('two worker threads', async () => share((await ready()).workers, 16), runs(5))
})

describe('the limit: products of 2048³ = 17.2 GFLOP', () => {
  const [A, B, C] = [0, 1, 2].map(() => new Float32Array(2048 * 2048).fill(0.5))
  bench('2 threads', async () => (await blas()).gemm(2048, 2048, 2048, A!, B!, C!), runs(5))
})

/** The value of `make`, made once. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => (made ??= make())
}

async function solve(solver: Solver, { W, H, outputs, inputs }: Problem): Promise<void> {
  await solver.factor(H, inputs)
  await solver.prune(W, outputs, pattern)
}

/** Every worker takes the next solve when it is done with one. */
async function share(workers: readonly Worker[], solves: number): Promise<void> {
  let left = solves
  await Promise.all(
    workers.map(async (worker) => {
      while (left-- > 0) {
        worker.postMessage('solve', [])
        await event(worker, 'message')
      }
    }),
  )
}

/** W ~ N(0, 1), H = XᵀX of 2·inputs random tokens. */
async function randomProblem(outputs: number, inputs: number): Promise<Problem> {
  const rng = createRng(inputs)
  const X = Float32Array.from({ length: 2 * inputs * inputs }, () => rng.normal())
  const H = new Float32Array(inputs * inputs)
  await (await blas()).gemm(inputs, inputs, 2 * inputs, X, X, H, { transA: true })
  for (let i = 0; i < inputs; i++) for (let j = 0; j < i; j++) H[i * inputs + j] = H[j * inputs + i]!
  return { W: Float32Array.from({ length: outputs * inputs }, () => rng.normal()), H, outputs, inputs }
}
