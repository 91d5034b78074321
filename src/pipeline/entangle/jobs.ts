import type { PackedFfn } from '../jobs.ts'
import type { RowStoreRef } from '../rowstore.ts'
import type { ExperimentJob, ExperimentResultOf } from './experiment-jobs.ts'

// Jobs that measure neurons. The neurons of a layer are numbered gate first, then up, then down: 2 · ff + hidden.

/** Guessed centre and scale of every neuron's outputs, where its histogram lies (src/entangle/grid.ts). */
export type Placements = { readonly centre: Float64Array; readonly scale: Float64Array }

export type EntangleJob = PlacementJob | MappingJob | MeasureJob | DistanceJob | ExperimentJob

/** Mean and standard deviation of every neuron over a sample of tokens. */
export type PlacementJob = {
  readonly kind: 'placement'
  readonly layer: number
  readonly rows: Uint32Array
  readonly ffnIn: RowStoreRef
}

/** MD of every neuron over pairs of tokens (row first[i], row second[i]). */
export type MappingJob = {
  readonly kind: 'mapping'
  readonly layer: number
  readonly first: Uint32Array
  readonly second: Uint32Array
  readonly ffnIn: RowStoreRef
}

/** Counts the outputs of all neurons for some tokens into a histogram that nobody else writes meanwhile. */
export type MeasureJob = {
  readonly kind: 'measure'
  readonly layer: number
  readonly rows: Uint32Array
  readonly ffnIn: RowStoreRef
  readonly placements: Placements
  /** (neurons, BINS) uint32 */
  readonly counts: SharedArrayBuffer
  /** hidden[rows] += the FF layer's outputs, so that no second pass is needed to go on to the next block. */
  readonly hidden?: RowStoreRef
  /** Also the outputs of pruned matrices for the same inputs (down: the dense intermediates), each into its histogram. */
  readonly pruned?: readonly { readonly ffn: PackedFfn; readonly counts: SharedArrayBuffer }[]
}
export type MeasureResult = {
  /** Power sums of every neuron, (neurons, POWERS). */
  readonly sums: Float64Array
  /** Σ (pruned − dense)² of every neuron, for each of `pruned`. */
  readonly squaredErrors: readonly Float64Array[]
}

/** Turns counts of some neurons into distances. Adds all histograms of `slots` to the first, then clears what it should. */
export type DistanceJob = {
  readonly kind: 'distance'
  readonly first: number
  readonly neurons: number
  readonly tokens: number
  readonly placements: Placements
  readonly sums: Float64Array
  readonly slots: readonly SharedArrayBuffer[]
  /** Counts of pruned outputs over the same tokens, for W₁(pruned, dense); each in one or more slots. */
  readonly prunedSlots?: readonly (readonly SharedArrayBuffer[])[]
  /** A histogram that the counts are added to before they are cleared. */
  readonly addTo?: SharedArrayBuffer
}
export type DistanceResult = {
  readonly wd: Float64Array
  readonly bound: Float64Array
  readonly mean: Float64Array
  readonly variance: Float64Array
  readonly kurtosis: Float64Array
  /** Outputs of the SHAPE.neurons most entangled of the job, as shares of SHAPE.intervals intervals. */
  readonly shapes: readonly OutputShape[]
  /** W₁ of pruned against dense outputs in dense standard deviations, for each of prunedSlots. */
  readonly prunedDistances: readonly Float64Array[]
}

export type OutputShape = { readonly neuron: number; readonly wd: number; readonly shares: readonly number[] }

/** Drawn histograms: how many of a job or matrix, their intervals, the standard deviations they reach to on both sides. */
export const SHAPE = { neurons: 4, intervals: 48, limit: 4 } as const

/** What each job gives back. */
export type EntangleResultOf<J extends EntangleJob> = J extends ExperimentJob
  ? ExperimentResultOf<J>
  : J extends PlacementJob
    ? Placements
    : J extends MappingJob
      ? Float64Array
      : J extends MeasureJob
        ? MeasureResult
        : DistanceResult
