import { createHash } from 'node:crypto'
import { availableParallelism, totalmem } from 'node:os'
import { basename, resolve } from 'node:path'
import { demoModelFolder } from '../../calibration/bundled.ts'
import type { Windows } from '../../calibration/windows.ts'
import { topIndices } from '../entangle/ranking.ts'
import type { EntangleReport, MatrixReport, ReportOptions } from '../entangle/types.ts'
import { REPORT_VERSION } from '../entangle/types.ts'
import { BINS } from '../entangle/grid.ts'
import { UsageError } from '../errors.ts'
import type { OpenedModel } from '../model/open.ts'
import { openModel } from '../model/open.ts'
import { TOOL_VERSION } from '../version.ts'
import { embedAll, runAttention } from './block.ts'
import { SHAPE } from './entangle-jobs.ts'
import type { Measurement, NeuronColumns } from './entangle-layer.ts'
import { histogramSlots, measureLayer } from './entangle-layer.ts'
import { sourceHash } from './fingerprint.ts'
import { ROLES } from './jobs.ts'
import { WorkerPool } from './pool.ts'
import { RowStore } from './rowstore.ts'
import { MATRICES } from './state.ts'
import { calibrationText } from './text.ts'
import type { Progress, TextSource } from './types.ts'

export type EntangleOptions = {
  /** Model folder, or artifact folder. @default the embedded demo model */
  readonly model?: string
  /** Text whose tokens go through the model. @default the bundled calibration text */
  readonly text?: TextSource
  /** @default 131072 */
  readonly tokens?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** Seed of windows and pairs. @default 0 */
  readonly seed?: number
  /** Pairs of tokens for MD. @default 4096 */
  readonly pairs?: number
  /** Share of neurons of a matrix that count as Wasserstein neurons. @default 0.03 */
  readonly top?: number
  /** Worker threads. @default the processors this process may use */
  readonly threads?: number
  /** Bytes that histograms may take; fewer jobs run at a time when they are many. @default a quarter of the memory */
  readonly memoryBytes?: number
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/**
 * Measures how entangled every FF neuron of a model is (arXiv 2405.15756): WD, MD and moments of its outputs over the
 * tokens of some text, layer by layer; one layer's outputs exist at a time. Throws UsageError for options that cannot be
 * meant, and what opening the model throws.
 */
export async function entangle(options: EntangleOptions): Promise<EntangleReport> {
  const folder = options.model ?? demoModelFolder()
  const settings = settingsOf(options)
  const model = openModel(folder)
  const threads = options.threads ?? availableParallelism()
  const pool = new WorkerPool(threads, { modelFolder: model.folder }, options.signal)
  try {
    options.onProgress?.({ stage: 'load', done: 0, total: 1 })
    const windows = await calibrationText(model, { ...settings, ...(options.text ? { text: options.text } : {}) })
    const { hidden: d, ff, layers } = model.config
    const neurons = 2 * ff + d
    const memoryBytes = options.memoryBytes ?? Math.floor(totalmem() / 4)
    const run: Measurement = {
      runner: pool,
      hidden: RowStore.create(windows.ids.length, d),
      ffnIn: RowStore.create(windows.ids.length, d),
      neurons,
      parts: partsOf(model),
      pairs: settings.pairs,
      seed: settings.seed,
      slots: histogramSlots(neurons, Math.max(1, Math.min(threads, Math.floor(memoryBytes / (neurons * BINS * 4))))),
    }
    const { nWindows, sequenceLength } = windows
    const forward = { ...run, nWindows, sequenceLength }
    await embedAll(forward, windows.ids)
    const matrices: MatrixReport[] = []
    let wdBound = 0
    const notes: string[] = []
    for (let layer = 0; layer < layers; layer++) {
      options.onProgress?.({ stage: 'calibrate', done: layer, total: layers, block: layer, blocks: layers })
      await runAttention(forward, layer)
      const columns = await measureLayer(run, layer)
      wdBound = columns.bound.reduce((max, bound) => Math.max(max, bound), wdBound)
      if (columns.recounted) notes.push(recountNote(layer))
      matrices.push(...matrixReports(model, layer, columns, settings.top))
    }
    return {
      ...headOf(model, folder, settings, windows),
      kind: 'model',
      matrices,
      wdBound,
      notes,
    }
  } finally {
    await pool.close()
    model.close()
  }
}

/** Everything of a report that does not need a measurement. */
export function headOf(
  model: OpenedModel,
  folder: string,
  options: ReportOptions,
  windows: Windows,
): Pick<EntangleReport, 'reportVersion' | 'tool' | 'model' | 'sourceSha256' | 'shape' | 'options' | 'text'> {
  const counts = windows.domainNames.map(() => 0)
  for (const domain of windows.domains) counts[domain]!++
  const { layers, hidden, ff } = model.config
  return {
    reportVersion: REPORT_VERSION,
    tool: { name: 'spexpand', version: TOOL_VERSION },
    model: basename(resolve(folder)),
    sourceSha256: sourceHash(model).sha256,
    shape: { layers, hidden, ff },
    options: { ...options, tokens: windows.ids.length },
    text: {
      documents: windows.documents,
      domains: Object.fromEntries(windows.domainNames.map((name, i) => [name, counts[i]!])),
      tokensSha256: createHash('sha256').update(new Uint8Array(windows.ids.buffer)).digest('hex'),
    },
  }
}

/** Defaults filled in. Throws UsageError. */
export function settingsOf(options: EntangleOptions): ReportOptions {
  const settings = {
    tokens: options.tokens ?? 131_072,
    sequenceLength: options.sequenceLength ?? 256,
    seed: options.seed ?? 0,
    pairs: options.pairs ?? 4096,
    top: options.top ?? 0.03,
  }
  if (!(settings.top > 0 && settings.top < 1))
    throw new UsageError(`--top ${settings.top} is out of range: wanted a share of the neurons in (0, 1), e.g. 0.03`)
  if (!Number.isInteger(settings.pairs) || settings.pairs < 1)
    throw new UsageError(`--pairs ${settings.pairs} is out of range: wanted a whole number from 1`)
  return settings
}

/** The columns of a layer cut into its matrices. */
export function matrixReports(model: OpenedModel, layer: number, columns: NeuronColumns, top: number): MatrixReport[] {
  return MATRICES.map((matrix, i) => {
    const [from, to] = partsOf(model)[i]!
    const cut = (values: Float64Array): number[] => [...values.subarray(from, to)]
    const wd = cut(columns.wd)
    const wasserstein = topIndices(wd, top)
    return {
      layer,
      matrix,
      wd,
      md: cut(columns.md),
      mean: cut(columns.mean),
      variance: cut(columns.variance),
      kurtosis: cut(columns.kurtosis),
      weight: meanMagnitudes(model.weights.readF32(model.tensorName(ROLES[matrix], layer)), to - from),
      wasserstein,
      shapes: columns.shapes
        .filter(({ neuron }) => neuron >= from && neuron < to)
        .sort((a, b) => b.wd - a.wd || a.neuron - b.neuron)
        .slice(0, SHAPE.neurons)
        .map(({ neuron, shares }) => ({ neuron: neuron - from, shares })),
    }
  })
}

/** Where the neurons of gate, up and down begin and end in the numbering of a layer. */
export function partsOf(model: OpenedModel): (readonly [from: number, to: number])[] {
  const { hidden, ff } = model.config
  return [
    [0, ff],
    [ff, 2 * ff],
    [2 * ff, 2 * ff + hidden],
  ]
}

/** Mean |w| of every row of W. */
function meanMagnitudes(W: Float32Array, rows: number): number[] {
  const cols = W.length / rows
  return Array.from({ length: rows }, (_, i) => {
    let sum = 0
    for (let j = i * cols, end = j + cols; j < end; j++) sum += Math.abs(W[j]!)
    return sum / cols
  })
}

function recountNote(layer: number): string {
  return `layer ${layer}: outputs were counted twice, because a sample misjudged how far they spread`
}
