import { BINS } from '../../entangle/grid.ts'
import { drawPairs } from '../../entangle/mapping.ts'
import { createRng, sample } from '../../linalg/rng.ts'
import { SolverError } from '../../errors.ts'
import type { DistanceJob, DistanceResult, Placements } from './jobs.ts'
import type { JobRunner } from '../pool.ts'
import type { RowStore } from '../rowstore.ts'
import { segmentsOf } from '../segments.ts'

/** What all layers of one measurement share. */
export type Measurement = {
  readonly runner: JobRunner
  readonly hidden: RowStore
  readonly ffnIn: RowStore
  /** Neurons of a layer, and where gate, up and down begin and end among them. */
  readonly neurons: number
  readonly parts: readonly (readonly [from: number, to: number])[]
  readonly pairs: number
  readonly seed: number
  /** Histograms of a whole layer, one for each job that may run at a time; all zeros between uses. */
  readonly slots: readonly SharedArrayBuffer[]
}

/** Columns over all neurons of one layer. */
export type NeuronColumns = DistanceResult & { readonly md: Float64Array }

/** Tokens that place the histograms. */
const PLACEMENT_ROWS = 2048
/** Neurons of one distance job. */
const SLICE = 256
/** The streamed WD is promised to be this close to the exact one. */
export const WD_TOLERANCE = 1e-3

/** Histograms for `count` jobs at a time over a layer of `neurons` neurons. */
export function histogramSlots(neurons: number, count: number): SharedArrayBuffer[] {
  return Array.from({ length: count }, () => new SharedArrayBuffer(neurons * BINS * 4))
}

/**
 * Measures all neurons of a layer on the FF inputs of all tokens, and adds the dense FF layer to the hidden states on the
 * way. When a sample misjudged where the outputs lie, the layer is counted once more with what is known now.
 */
export async function measureLayer(run: Measurement, layer: number): Promise<NeuronColumns & { recounted: boolean }> {
  const { ffnIn, neurons } = run
  const rows = ffnIn.ref.rows
  const place = await placementsOf(run, layer)
  const md = mappingOf(run, layer, all(rows), layer)
  let columns = await countAll(run, layer, place, true)
  let recounted = false
  if (columns.bound.some((bound) => bound > WD_TOLERANCE)) {
    const scale = columns.variance.map((variance) => Math.sqrt(variance) || 1)
    columns = await countAll(run, layer, { centre: columns.mean, scale }, false)
    recounted = true
  }
  if (columns.mean.some((mean) => !Number.isFinite(mean)))
    throw new SolverError(
      `Cannot measure layer ${layer}: neuron ${columns.mean.findIndex((mean) => !Number.isFinite(mean))} of ${neurons} has outputs that are not finite: check the model`,
    )

  return { ...columns, md: await md, recounted }
}

/** Where the outputs of every neuron lie, by a sample of the tokens. */
export function placementsOf(run: Measurement, layer: number): Promise<Placements> {
  const rows = Uint32Array.from(sample(run.ffnIn.ref.rows, PLACEMENT_ROWS, createRng(run.seed)))
  return run.runner.run({ kind: 'placement', layer, rows, ffnIn: run.ffnIn.ref })
}

/** MD of every neuron over random pairs of `rows`; `stream` separates the draws of layers and experts. */
export function mappingOf(run: Measurement, layer: number, rows: Uint32Array, stream: number): Promise<Float64Array> {
  const pairs = drawPairs(rows.length, run.pairs, run.seed + 1_000_003 * (stream + 1))
  if (pairs.first.length === 0) return Promise.resolve(new Float64Array(run.neurons).fill(NaN))
  const first = pairs.first.map((i) => rows[i]!)
  const second = pairs.second.map((i) => rows[i]!)
  return run.runner.run({ kind: 'mapping', layer, first, second, ffnIn: run.ffnIn.ref })
}

async function countAll(
  run: Measurement,
  layer: number,
  placements: Placements,
  advance: boolean,
): Promise<DistanceResult> {
  const { runner, ffnIn, hidden, slots } = run
  const free = [...slots]
  const waiting: ((slot: SharedArrayBuffer) => void)[] = []
  const take = async (): Promise<SharedArrayBuffer> => free.pop() ?? new Promise((resolve) => waiting.push(resolve))
  const give = (slot: SharedArrayBuffer): void => {
    const next = waiting.shift()
    if (next) next(slot)
    else free.push(slot)
  }
  const parts = await Promise.all(
    segmentsOf(all(ffnIn.ref.rows)).map(async (rows) => {
      const counts = await take()
      const { sums } = await runner.run({
        kind: 'measure',
        layer,
        rows,
        ffnIn: ffnIn.ref,
        placements,
        counts,
        ...(advance ? { hidden: hidden.ref } : {}),
      })
      give(counts)
      return sums
    }),
  )
  return distancesOf(run, addSums(parts), ffnIn.ref.rows, placements)
}

/** Distances of all neurons from what the slots hold, which are clear afterwards. */
export async function distancesOf(
  run: Pick<Measurement, 'runner' | 'parts' | 'slots'>,
  sums: Float64Array,
  tokens: number,
  placements: Placements,
  more: Pick<DistanceJob, 'addTo' | 'prunedSlots'> = {},
): Promise<DistanceResult> {
  const jobs: Promise<DistanceResult>[] = []
  for (const { first, neurons } of slicesOf(run.parts))
    jobs.push(
      run.runner.run({
        kind: 'distance',
        first,
        neurons,
        tokens,
        placements,
        sums,
        slots: run.slots,
        ...more,
      }),
    )
  const parts = await Promise.all(jobs)
  const join = (key: 'wd' | 'bound' | 'mean' | 'variance' | 'kurtosis'): Float64Array =>
    Float64Array.from(parts.flatMap((part) => [...part[key]]))
  return {
    wd: join('wd'),
    bound: join('bound'),
    mean: join('mean'),
    variance: join('variance'),
    kurtosis: join('kurtosis'),
    shapes: parts.flatMap((part) => part.shapes),
    prunedDistances: (more.prunedSlots ?? []).map((_, v) =>
      Float64Array.from(parts.flatMap((part) => [...part.prunedDistances[v]!])),
    ),
  }
}

/** Neurons in pieces of one distance job, each within one matrix. */
function slicesOf(parts: Measurement['parts']): { first: number; neurons: number }[] {
  return parts.flatMap(([from, to]) =>
    Array.from({ length: Math.ceil((to - from) / SLICE) }, (_, i) => {
      const first = from + i * SLICE
      return { first, neurons: Math.min(SLICE, to - first) }
    }),
  )
}

/** Sums in the order of the parts, whichever was ready first. */
export function addSums(parts: readonly Float64Array[]): Float64Array {
  const total = parts[0]!.slice()
  for (const part of parts.slice(1)) for (let i = 0; i < total.length; i++) total[i]! += part[i]!
  return total
}

/** 0 … n − 1. */
export function all(n: number): Uint32Array {
  return Uint32Array.from({ length: n }, (_, i) => i)
}
