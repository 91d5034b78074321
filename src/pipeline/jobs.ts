import type { Moments } from '../cluster/moments.ts'
import type { Pca } from '../cluster/pca.ts'
import type { Router } from '../cluster/router.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import type { ValueForm } from '../mixture/values.ts'
import type { ModelConfig } from '../model/config.ts'
import type { EntangleJob, EntangleResultOf } from './entangle/jobs.ts'
import type { RowStoreRef } from './rowstore.ts'
import type { Method, Pattern } from './types.ts'

/** The FF matrices of a layer, in order; in layers without a gate up is the first matrix (fc1) and down the second. */
export type MatrixName = 'gate_proj' | 'up_proj' | 'down_proj'

/** The FF matrices that a model has, in order. */
export function matricesOf({ gated }: Pick<ModelConfig, 'gated'>): readonly MatrixName[] {
  return gated ? ['gate_proj', 'up_proj', 'down_proj'] : ['up_proj', 'down_proj']
}

/** The same matrices, as src/model names roles. */
export const ROLES: Readonly<Record<MatrixName, 'gate' | 'up' | 'down'>> = {
  gate_proj: 'gate',
  up_proj: 'up',
  down_proj: 'down',
}

/** gate (where there is one) and up of one expert. */
export type PackedFront = { readonly gate?: PackedExpert; readonly up: PackedExpert }
/** The same with down. */
export type PackedFfn = PackedFront & { readonly down: PackedExpert }

/** The matrices of one expert by their roles. */
export function packedFront(packed: Readonly<Partial<Record<MatrixName, PackedExpert>>>): PackedFront {
  return { ...(packed.gate_proj ? { gate: packed.gate_proj } : {}), up: packed.up_proj! }
}

/** Everything a worker must know before its first job. */
export type EngineInit = {
  readonly modelFolder: string
  /** Use the native products where they are faster than onnxruntime's; the bytes of the results differ. @default false */
  readonly native?: boolean
}

/**
 * One piece of work for one thread. Jobs are plain data, so that whoever runs them is an interface: the worker pool of
 * this process today. Each job is single-threaded and its rows are fixed by the caller: results do not depend on how
 * many workers there are.
 */
export type Job =
  | EmbedJob
  | AttentionJob
  | DenseFfnJob
  | GramJob
  | SolveJob
  | IntermediateJob
  | PropagateJob
  | PropagateDownJob
  | EntangleJob
  | MomentsJob
  | ProjectJob
  | RouteJob

/** hidden[firstRow…] = embedding of `ids` (windows · sequenceLength). */
export type EmbedJob = {
  readonly kind: 'embed'
  readonly ids: Int32Array
  readonly sequenceLength: number
  readonly firstRow: number
  readonly hidden: RowStoreRef
}

/** hidden += attention(hidden), ffnIn = norm(hidden), for whole windows. */
export type AttentionJob = {
  readonly kind: 'attention'
  readonly layer: number
  readonly firstRow: number
  readonly windows: number
  readonly sequenceLength: number
  readonly hidden: RowStoreRef
  readonly ffnIn: RowStoreRef
}

/** hidden += dense FF layer of ffnIn, for consecutive rows. */
export type DenseFfnJob = {
  readonly kind: 'denseFfn'
  readonly layer: number
  readonly firstRow: number
  readonly rows: number
  readonly hidden: RowStoreRef
  readonly ffnIn: RowStoreRef
}

/** Σ x xᵀ of the FF inputs or of the intermediates of the given rows, both triangles. */
export type GramJob = {
  readonly kind: 'gram'
  readonly layer: number
  readonly rows: Uint32Array
  readonly source: 'inputs' | 'intermediates'
  readonly ffnIn: RowStoreRef
  /** Intermediates of these pruned matrices; of the dense ones when absent. */
  readonly pruned?: PackedFront
  /** Intermediates that are stored already. */
  readonly stored?: RowStoreRef
}

/** Prunes matrices that share an input: one factorisation for all of them. */
export type SolveJob = {
  readonly kind: 'solve'
  readonly layer: number
  readonly matrices: readonly MatrixName[]
  /** Σ x xᵀ (in, in) over `tokens` tokens. */
  readonly sum: Float32Array
  readonly tokens: number
  readonly pattern: Pattern
  readonly values: ValueForm
  readonly method: Method
  readonly damping: number
  readonly dampingMax: number
  /** Passes of refinement after the sweep. @default 0 */
  readonly refine?: number
  /** For messages: 'expert 3' or 'one-expert baseline'. */
  readonly label: string
  /** false: only the errors are wanted (the one-expert baseline). */
  readonly keep: boolean
}
export type SolveResult = {
  readonly matrix: MatrixName
  readonly packed?: PackedExpert
  readonly zeros: number
  /** tr(ΔHΔᵀ) and tr(WHWᵀ), H = 2/n · Σ x xᵀ undamped, before kept weights are rounded to f16 or bf16, with
   * the rounding to a grid. */
  readonly loss: number
  readonly norm: number
  readonly damping: number
  readonly factorizations: number
  readonly deadInputs: number
  /** Kept weights that f16 or bf16 cannot tell from zero. */
  readonly underflows: number
}

/** out[rows] = intermediates of the pruned gate and up (only the split router needs them stored). */
export type IntermediateJob = {
  readonly kind: 'intermediate'
  readonly layer: number
  readonly rows: Uint32Array
  readonly ffnIn: RowStoreRef
  readonly front: PackedFront
  readonly out: RowStoreRef
}

/** hidden[rows] += pruned FF layer of ffnIn[rows]. */
export type PropagateJob = {
  readonly kind: 'propagate'
  readonly layer: number
  readonly rows: Uint32Array
  readonly ffnIn: RowStoreRef
  readonly hidden: RowStoreRef
  readonly ffn: PackedFfn
}

/** hidden[rows] += pruned down projection of stored intermediates. */
export type PropagateDownJob = {
  readonly kind: 'propagateDown'
  readonly layer: number
  readonly rows: Uint32Array
  readonly intermediates: RowStoreRef
  readonly hidden: RowStoreRef
  readonly down: PackedExpert
}

/** Rows [start, end) of a store. */
type PartOf = { readonly rows: RowStoreRef; readonly start: number; readonly end: number }

/** Moments of every `every`-th row of a part. */
export type MomentsJob = PartOf & { readonly kind: 'moments'; readonly every: number; readonly shift: Float32Array }

/** A part in PCA space, (end − start, stride). */
export type ProjectJob = PartOf & {
  readonly kind: 'project'
  readonly basis: Pick<Pca, 'P' | 'mean'>
  readonly stride: number
}

/** The experts of a part. */
export type RouteJob = PartOf & { readonly kind: 'route'; readonly router: Router }

/** What each kind of job gives back. */
export type JobResult<J extends Job> = J extends GramJob
  ? Float32Array
  : J extends SolveJob
    ? SolveResult[]
    : J extends EntangleJob
      ? EntangleResultOf<J>
      : J extends MomentsJob
        ? Moments
        : J extends ProjectJob
          ? Float32Array
          : J extends RouteJob
            ? Uint8Array
            : undefined
