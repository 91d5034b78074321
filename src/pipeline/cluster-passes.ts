import { CHUNK_ROWS, momentShift, momentStride, sumMoments } from '../cluster/moments.ts'
import type { Passes } from '../cluster/passes.ts'
import { chunkReader } from './cluster-jobs.ts'
import type { JobRunner } from './pool.ts'
import type { RowStore } from './rowstore.ts'

/** Chunks of one job: a part is fixed by the rows alone, so that results do not depend on the number of threads. */
const CHUNKS = 2

/** The passes over the rows of a store, as jobs. */
export function passesOf(store: RowStore, runner: JobRunner): Passes {
  const { ref } = store
  const { rows, cols: dim } = ref
  return {
    async moments() {
      const every = momentStride(rows)
      const shift = await momentShift({ rows, dim, chunk: chunkReader(store) }, every)
      const parts = partsOf(rows, CHUNKS * CHUNK_ROWS * every)
      return sumMoments(
        await Promise.all(parts.map((part) => runner.run({ kind: 'moments', rows: ref, ...part, every, shift }))),
      )
    },
    async project({ P, mean }, { stride, data }) {
      const basis = { P, mean }
      await Promise.all(
        partsOf(rows, CHUNKS * CHUNK_ROWS).map(async (part) => {
          data.set(await runner.run({ kind: 'project', rows: ref, ...part, basis, stride }), part.start * stride)
        }),
      )
    },
    async route(router) {
      const labels = new Uint8Array(rows)
      await Promise.all(
        partsOf(rows, CHUNKS * CHUNK_ROWS).map(async (part) => {
          labels.set(await runner.run({ kind: 'route', rows: ref, ...part, router }), part.start)
        }),
      )
      return labels
    },
  }
}

/** [0, rows) cut into pieces of `size`. */
function partsOf(rows: number, size: number): { start: number; end: number }[] {
  return Array.from({ length: Math.ceil(rows / size) }, (_, i) => ({
    start: i * size,
    end: Math.min(rows, (i + 1) * size),
  }))
}
