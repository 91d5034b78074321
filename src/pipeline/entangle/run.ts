import { availableParallelism, totalmem } from 'node:os'
import type { Windows } from '../../../calibration/windows.ts'
import { BINS } from '../../entangle/grid.ts'
import type { ReportOptions } from '../../entangle/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import { embedAll } from '../block.ts'
import type { Measurement } from './layer.ts'
import { histogramSlots } from './layer.ts'
import type { EntangleOptions } from './options.ts'
import { partsOf } from './parts.ts'
import { WorkerPool } from '../pool.ts'
import { RowStore } from '../rowstore.ts'
import { calibrationText } from '../text.ts'

/** A measurement about to begin: the embeddings of all tokens are in `run.hidden`. */
export type BegunRun = {
  readonly run: Measurement & {
    readonly runner: WorkerPool
    readonly nWindows: number
    readonly sequenceLength: number
  }
  readonly windows: Windows
  readonly close: () => Promise<void>
}

/**
 * Reads the text, starts the workers and embeds all tokens. There is a histogram for every job that runs at a time, as
 * far as `perSlot` histograms each fit the memory allowance; one is always there.
 */
export async function beginRun(
  model: OpenedModel,
  options: EntangleOptions,
  settings: ReportOptions,
  perSlot: number,
): Promise<BegunRun> {
  const threads = options.threads ?? availableParallelism()
  options.onProgress?.({ stage: 'load', done: 0, total: 1 })
  const windows = await calibrationText(model, { ...settings, ...(options.text ? { text: options.text } : {}) })
  const init = { modelFolder: model.folder, native: options.native ?? true }
  const pool = new WorkerPool(threads, init, { signal: options.signal })
  try {
    const { hidden: d } = model.config
    const rows = windows.ids.length
    const parts = partsOf(model)
    const neurons = parts.at(-1)![1]
    const memoryBytes = options.memoryBytes ?? Math.floor(totalmem() / 4)
    const affordable = Math.floor(memoryBytes / (neurons * BINS * 4 * perSlot))
    const run = {
      runner: pool,
      hidden: RowStore.create(rows, d),
      ffnIn: RowStore.create(rows, d),
      neurons,
      parts,
      pairs: settings.pairs,
      seed: settings.seed,
      slots: histogramSlots(neurons, Math.max(1, Math.min(threads, affordable))),
      nWindows: windows.nWindows,
      sequenceLength: windows.sequenceLength,
    }
    await embedAll(run, windows.ids)
    return { run, windows, close: () => pool.close() }
  } catch (error) {
    await pool.close()
    throw error
  }
}
