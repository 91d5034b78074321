import { expect, it } from 'vitest'
import { passesHere } from '../../src/cluster/passes.ts'
import { fitRouter } from '../../src/cluster/router.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { chunkReader, moments, projectPart, routePart } from '../../src/pipeline/cluster-jobs.ts'
import { passesOf } from '../../src/pipeline/cluster-passes.ts'
import type { Engine } from '../../src/pipeline/engine.ts'
import type { Job, JobResult } from '../../src/pipeline/jobs.ts'
import type { JobRunner } from '../../src/pipeline/pool.ts'
import { RowStore } from '../../src/pipeline/rowstore.ts'
import { createBlas } from '../../src/runtime/blas.ts'

/** Runs the passes' jobs on this thread, the last given first. */
async function runner(kinds: string[]): Promise<JobRunner> {
  const blas = await createBlas(1)
  const engine = { blas: () => Promise.resolve(blas) } as Engine
  let last: Promise<unknown> = Promise.resolve()
  const work = (job: Job): Promise<unknown> => {
    kinds.push(job.kind)
    if (job.kind === 'moments') return moments(engine, job)
    if (job.kind === 'project') return projectPart(engine, job)
    if (job.kind === 'route') return routePart(engine, job)
    throw new Error(`unexpected job ${job.kind}`)
  }
  return {
    run<J extends Job>(job: J): Promise<JobResult<J>> {
      last = last.then(() => work(job))
      return last as Promise<JobResult<J>>
    },
    close: () => Promise.resolve(),
  }
}

// Three parts of 8192 rows, of which every second one goes into the moments; and the last part is cut short.
it('passesOf() fits the router that the passes on one thread fit', async () => {
  const [rows, cols, experts] = [40_000, 12, 5]
  const store = RowStore.create(rows, cols)
  const rng = createRng(3)
  const X = Float32Array.from(
    { length: rows * cols },
    (_, i) => 5 + 4 * ((Math.floor(i / cols) * 7) % 5) * ((i % cols) % 3) + rng.normal(),
  )
  store.write(0, X)
  const kinds: string[] = []
  const options = { rows, dim: cols, experts, blas: await createBlas(1), chunk: chunkReader(store) }
  const here = passesHere(options, options.blas)
  const there = passesOf(store, await runner(kinds))
  const [expected, got] = [await here.moments(), await there.moments()]
  expect(got.count).toBe(20_000)
  expect(got.shift).toEqual(expected.shift)
  for (let j = 0; j < cols; j++) expect(Math.abs(got.sum[j]! - expected.sum[j]!)).toBeLessThan(1e-6 * rows)
  const largest = Math.max(...expected.cross)
  for (let i = 0; i < cols * cols; i++)
    expect(Math.abs(got.cross[i]! - expected.cross[i]!)).toBeLessThan(1e-5 * largest)
  const [one, many] = [await fitRouter(options), await fitRouter({ ...options, passes: there })]
  // Sums in another order: the routers differ in the last bits, no token of these well separated clusters does.
  expect(many.labels).toEqual(one.labels)
  expect(many.inertia / one.inertia).toBeCloseTo(1, 5)
  expect(await there.route(one.router)).toEqual(await here.route(one.router))
  const count = (kind: string): number => kinds.filter((k) => k === kind).length
  expect([count('moments'), count('project'), count('route')]).toEqual([6, 5, 10])
})
