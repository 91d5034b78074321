import type { OpenedModel } from '../model/open.ts'
import type { HiddenSource } from '../verify/hidden.ts'
import { embedAll, runAttention } from './block.ts'
import { WorkerPool } from './pool.ts'
import { RowStore } from './rowstore.ts'

/** Rows of one dense FF job. */
const FF_JOB_ROWS = 4096

/** Hidden states of the dense model, block by block: the weights of one block at a time are in memory. */
export function denseSource(model: OpenedModel, threads: number, signal?: AbortSignal): HiddenSource {
  const pool = new WorkerPool(threads, { modelFolder: model.folder }, { signal })
  return {
    async hidden(windows, first, end) {
      const { sequenceLength } = windows
      const ids = windows.ids.subarray(first * sequenceLength, end * sequenceLength)
      const { hidden: d, layers } = model.config
      const hidden = RowStore.create(ids.length, d)
      const ffnIn = RowStore.create(ids.length, d)
      const run = { runner: pool, hidden, ffnIn, nWindows: end - first, sequenceLength }
      await embedAll(run, ids)
      for (let layer = 0; layer < layers; layer++) {
        await runAttention(run, layer)
        await runDenseFfn(run, layer)
      }
      const rows = new Float32Array(ids.length * d)
      hidden.read(0, rows)
      return rows
    },
    release: () => pool.close(),
  }
}

/** hidden += dense FF layer, for all rows. */
export async function runDenseFfn(
  run: { readonly runner: WorkerPool; readonly hidden: RowStore; readonly ffnIn: RowStore },
  layer: number,
): Promise<void> {
  const { rows } = run.hidden.ref
  const jobs: Promise<undefined>[] = []
  for (let firstRow = 0; firstRow < rows; firstRow += FF_JOB_ROWS)
    jobs.push(
      run.runner.run({
        kind: 'denseFfn',
        layer,
        firstRow,
        rows: Math.min(FF_JOB_ROWS, rows - firstRow),
        hidden: run.hidden.ref,
        ffnIn: run.ffnIn.ref,
      }),
    )
  await Promise.all(jobs)
}
