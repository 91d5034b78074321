import { partialMoments } from '../cluster/moments.ts'
import type { Moments, RowSource } from '../cluster/moments.ts'
import { projectRows } from '../cluster/project.ts'
import { routeRows } from '../cluster/route.ts'
import type { Engine } from './engine.ts'
import type { MomentsJob, ProjectJob, RouteJob } from './jobs.ts'
import type { RowStoreRef } from './rowstore.ts'
import { RowStore } from './rowstore.ts'

// The passes over all tokens that fitting a router takes, by parts.

/** Moments of a part of the tokens. */
export async function moments(engine: Engine, job: MomentsJob): Promise<Moments> {
  const blas = await engine.blas()
  return withRows(job.rows, (source) => partialMoments(source, job, blas))
}

/** A part of the tokens in PCA space, (end − start, stride). */
export async function projectPart(engine: Engine, job: ProjectJob): Promise<Float32Array> {
  const blas = await engine.blas()
  const out = new Float32Array((job.end - job.start) * job.stride)
  await withRows(job.rows, (source) => projectRows(source, job.basis, blas, { ...job, out }))
  return out
}

/** The experts of a part of the tokens. */
export async function routePart(engine: Engine, job: RouteJob): Promise<Uint8Array> {
  const blas = await engine.blas()
  return withRows(job.rows, ({ chunk }) =>
    routeRows(job.router, job.end - job.start, (start, end) => chunk(job.start + start, job.start + end), blas),
  )
}

async function withRows<T>(ref: RowStoreRef, body: (source: RowSource) => Promise<T>): Promise<T> {
  const store = new RowStore(ref)
  try {
    return await body({ rows: ref.rows, dim: ref.cols, chunk: chunkReader(store) })
  } finally {
    store.close()
  }
}

/** Consecutive rows of a store, in a buffer that the next call overwrites. */
export function chunkReader(store: RowStore): (start: number, end: number) => Float32Array {
  let scratch = new Float32Array(0)
  return (start, end) => {
    const length = (end - start) * store.ref.cols
    if (scratch.length < length) scratch = new Float32Array(length)
    const rows = scratch.subarray(0, length)
    store.read(start, rows)
    return rows
  }
}
