import { availableParallelism } from 'node:os'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { openModel } from '../model/open.ts'
import { embedAll, runAttention } from './block.ts'
import { runDenseFfn } from './dense-source.ts'
import { WorkerPool } from './pool.ts'
import { RowStore } from './rowstore.ts'
import { calibrationText } from './text.ts'
import type { TextSource } from './types.ts'

export type CalibrateOptions = {
  /** Model folder in Hugging Face layout. @default the embedded demo model */
  readonly model?: string
  /** @default the bundled calibration text */
  readonly text?: TextSource
  /** @default 131072 */
  readonly tokens?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** @default 0 */
  readonly seed?: number
  /** @default the processors this process may use */
  readonly threads?: number
  readonly signal?: AbortSignal
  /**
   * Called once per decoder block, in order, with the FF inputs of all tokens: `read(start, end)` copies rows
   * [start, end) as (end − start, dim). The next block begins when it settles.
   */
  readonly onBlock: (block: {
    readonly layer: number
    readonly rows: number
    readonly dim: number
    readonly read: (start: number, end: number) => Float32Array
  }) => void | Promise<void>
}

/**
 * Runs calibration text through the dense model and hands out what enters each FF layer, block by block. With
 * fitRouter() it is the first half of compress(), for research. Returns the number of tokens.
 */
export async function calibrate(options: CalibrateOptions): Promise<{ tokens: number }> {
  const model = openModel(options.model ?? demoModelFolder())
  const threads = options.threads ?? availableParallelism()
  const pool = new WorkerPool(threads, { modelFolder: model.folder }, { signal: options.signal })
  try {
    const windows = await calibrationText(model, {
      ...(options.text ? { text: options.text } : {}),
      tokens: options.tokens ?? 131_072,
      sequenceLength: options.sequenceLength ?? 256,
      seed: options.seed ?? 0,
    })
    const { hidden: dim, layers } = model.config
    const rows = windows.ids.length
    const hidden = RowStore.create(rows, dim)
    const ffnIn = RowStore.create(rows, dim)
    const run = { ...windows, runner: pool, hidden, ffnIn }
    await embedAll(run, windows.ids)
    for (let layer = 0; layer < layers; layer++) {
      await runAttention(run, layer)
      const read = (start: number, end: number): Float32Array => {
        const out = new Float32Array((end - start) * dim)
        ffnIn.read(start, out)
        return out
      }
      await options.onBlock({ layer, rows, dim, read })
      await runDenseFfn(run, layer)
    }
    return { tokens: rows }
  } finally {
    await pool.close()
    model.close()
  }
}
