import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Job, RouteJob, SolveJob } from '../../src/pipeline/jobs.ts'
import { WorkerPool } from '../../src/pipeline/pool.ts'
import type { Fallback } from '../../src/pipeline/types.ts'

const root = mkdtempSync(join(tmpdir(), 'spexpand-pool-'))
afterAll(() => rmSync(root, { recursive: true }))

const entry = new URL('../fixtures/failing-worker.mjs', import.meta.url)
const rows = { kind: 'file', rows: 4, cols: 1, path: 'none' } as const
const route: RouteJob = {
  kind: 'route',
  rows,
  start: 0,
  end: 4,
  router: { weight: { rows: 1, cols: 1, data: new Float32Array(1) }, bias: new Float32Array(1) },
}
const solve = (): SolveJob => ({
  kind: 'solve',
  layer: 3,
  matrices: ['down_proj'],
  sum: Float32Array.of(1, 2, 3, 4),
  tokens: 2,
  pattern: { kind: 'unstructured', sparsity: 0.5 },
  values: { type: 'f16' },
  method: 'sparsegpt',
  damping: 0.01,
  dampingMax: 1,
  label: 'expert 2',
  keep: true,
})

/** Runs one job on workers that fail `times` times. */
async function run(
  job: Job,
  how: string,
  times: number,
  remake?: () => Promise<Job>,
): Promise<{ result: unknown; retries: Fallback[]; begun: number }> {
  const folder = join(root, `${job.kind}-${how}-${times}`)
  mkdirSync(folder)
  const retries: Fallback[] = []
  const init = { modelFolder: JSON.stringify({ folder, how, times }) }
  const pool = new WorkerPool(1, init, { entry, onRetry: (retry) => retries.push(retry) })
  try {
    const result: unknown = await pool.run(job, remake).catch((error: unknown) => error)
    return { result, retries, begun: readdirSync(folder).length }
  } finally {
    await pool.close()
  }
}

describe('WorkerPool', () => {
  it.each([
    ['exit', /exit code 3/],
    ['throw', /a fault of the worker/],
    ['internal', /x is not a function/],
  ])('runs a job again, once, on a fresh worker after: %s', async (how, because) => {
    const { result, retries, begun } = await run(route, how, 1)
    expect(result).toEqual({ kind: 'route', sum: undefined })
    expect(begun).toBe(2)
    expect(retries).toEqual([
      { where: 'route, tokens 0 to 4', what: 'run again on a fresh worker', because: expect.stringMatching(because) },
    ])
  })

  it('names the job that fails on two workers', async () => {
    const { result, begun } = await run(route, 'exit', 2)
    expect(begun).toBe(2)
    expect(result).toMatchObject({
      kind: 'bug',
      message: expect.stringMatching(/'route, tokens 0 to 4': it failed on two workers: .*exit code 3; .*exit code 3/),
    })
  })

  it('says that a job ran out of memory, twice', async () => {
    const { result } = await run(route, 'memory', 2)
    expect(result).toMatchObject({ kind: 'resources', message: expect.stringMatching(/route.*out of memory/) })
  })

  it('makes a job anew whose data went with the worker', async () => {
    const { result } = await run(solve(), 'exit', 1, () => Promise.resolve(solve()))
    expect(result).toEqual({ kind: 'solve', sum: [1, 2, 3, 4] })
  })

  it('runs no job again that may have changed rows in part, and none that failed for a reason of its own', async () => {
    const torn = await run(route, 'torn', 1)
    expect(torn).toMatchObject({ begun: 1, retries: [] })
    expect(torn.result).toMatchObject({ kind: 'bug', message: expect.stringMatching(/died while it wrote/) })
    const numerical = await run(route, 'numerical', 1)
    expect(numerical).toMatchObject({ begun: 1, retries: [], result: { kind: 'numerical', message: 'no pivot' } })
  })

  it('serves the other jobs after one was lost', async () => {
    const folder = join(root, 'others')
    mkdirSync(folder)
    const init = { modelFolder: JSON.stringify({ folder, how: 'exit', times: 1 }) }
    const pool = new WorkerPool(1, init, { entry })
    const results = await Promise.all([pool.run(route), pool.run(solve(), () => Promise.resolve(solve()))])
    await pool.close()
    expect(results).toMatchObject([{ kind: 'route' }, { kind: 'solve' }])
  })
})
