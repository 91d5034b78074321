import type { MatrixName } from '../jobs.ts'
import type { RowStoreRef } from '../rowstore.ts'

// Jobs of the experiments: some rows of the FF matrices of one layer, dense or pruned.

export type ExperimentJob = NeuronOutputsJob | PruneRowsJob | PatchedFfnJob

/** Outputs of some neurons over some tokens; those of gate and up see the FF inputs, those of down dense intermediates. */
export type NeuronOutputsJob = {
  readonly kind: 'neuronOutputs'
  readonly layer: number
  readonly rows: Uint32Array
  readonly ffnIn: RowStoreRef
  /** Weights of the neurons, (neurons, hidden) and (neurons, ff). */
  readonly front: Float32Array
  readonly back: Float32Array
}
/** (neurons, rows) each. */
export type NeuronOutputs = { readonly front: Float32Array; readonly back: Float32Array }

/** Prunes some rows of matrices that share an input, each subset by itself, by one factorisation. */
export type PruneRowsJob = {
  readonly kind: 'pruneRows'
  readonly layer: number
  /** Σ x xᵀ (in, in) over `tokens` tokens. */
  readonly sum: Float32Array
  readonly tokens: number
  readonly subsets: readonly RowSubset[]
}
export type RowSubset = { readonly matrix: MatrixName; readonly neurons: Uint32Array; readonly sparsity: number }

/** Some rows of a dense matrix and what they become, (neurons, inputs). */
export type RowPatch = { readonly matrix: MatrixName; readonly neurons: Uint32Array; readonly weights: Float32Array }

/** hidden[rows] += the FF layer of ffnIn[rows], dense but for the patched rows. */
export type PatchedFfnJob = {
  readonly kind: 'patchedFfn'
  readonly layer: number
  readonly rows: Uint32Array
  readonly ffnIn: RowStoreRef
  readonly hidden: RowStoreRef
  readonly patches: readonly RowPatch[]
}

/** What each kind of job gives back. */
export type ExperimentResultOf<J extends ExperimentJob> = J extends NeuronOutputsJob
  ? NeuronOutputs
  : J extends PruneRowsJob
    ? Float32Array[]
    : undefined
