import type { GriffinEvaluation } from './predict/griffin-evaluate.ts'
import type { GriffinOption, GriffinOverrides } from './predict/griffin-option.ts'
import type { ExpertsProfile } from '../mixture/profile.ts'
import type { Provider } from '../runtime/session.ts'
import type { MemoryPlan } from './memory.ts'

/** How FF weights are removed: a share of all weights, or n zeros in every m inputs of a row. */
export type Pattern =
  | { readonly kind: 'unstructured'; readonly sparsity: number }
  | { readonly kind: 'n:m'; readonly n: number; readonly m: number }

/** The pruning methods; `sparsegpt` is `sparse-expansion` with one expert. */
export type Method = 'sparse-expansion' | 'sparsegpt' | 'wanda' | 'magnitude'

/** How kept weights are stored: as 16-bit floats, or as whole numbers on a grid with f16 scales. */
export type ValueType = 'f16' | 'bf16' | 'int8' | 'int4'

/** One step of a long run, for progress displays. `done` of `total` units of `stage` are finished. */
export type Progress = {
  readonly stage:
    | 'download'
    | 'convert'
    | 'load'
    | 'calibrate'
    | 'cluster'
    | 'hessian'
    | 'solve'
    | 'propagate'
    | 'export'
    | 'evaluate'
    | 'check'
    | 'compare'
    | 'time'
  readonly done: number
  readonly total: number
  /** Decoder block the stage works on (0-based) and their number, where it has one. */
  readonly block?: number
  readonly blocks?: number
  /** One short line worth keeping when no bar is drawn, e.g. statistics of a finished block. */
  readonly note?: string
  /** Of a finished block: what did not go the plain way, jobs that were run again included. */
  readonly fallbacks?: readonly Fallback[]
}

/** Where text comes from: files or '-' (standard input); plain text, or JSON lines with `text` and optional `domain`. */
export type TextSource = {
  readonly paths: readonly string[]
  /** Lines with `messages` become text by the model's chat template. @default false: they are refused */
  readonly chatTemplate?: boolean
}

export type CompressOptions = {
  /** Model folder in Hugging Face layout. @default the embedded demo model */
  readonly model?: string
  /** Artifact folder to write; must not exist, or hold an unfinished run of the same inputs. */
  readonly out: string
  /** Calibration text. @default the bundled calibration text */
  readonly text?: TextSource
  /** @default 'sparse-expansion' */
  readonly method?: Method
  /** Experts per FF layer, 1 to 256. @default 16 */
  readonly experts?: number
  /** A file with experts, and where wanted sparsity, by layer (docs/formats.md); instead of `experts`. */
  readonly expertsProfile?: string
  /** @default { kind: 'unstructured', sparsity: 0.7 } */
  readonly pattern?: Pattern
  /** How kept weights are stored. The solver rounds to int8 and int4 while it prunes. @default 'f16' */
  readonly values?: ValueType
  /** Inputs that share a scale, of int8 and int4: 32, 64, 128, or 0 for whole rows. @default 0 for int8, 128 for int4 */
  readonly groupSize?: number
  /** 'shared': one router per FF layer; 'split': down has its own, on the intermediates. @default 'shared' */
  readonly router?: 'shared' | 'split'
  /** false: routers whose scores have no bias, which Mixtral and GGUF files cannot store. @default true */
  readonly routerBias?: boolean
  /** Calibration tokens. @default 131072 */
  readonly tokens?: number
  /** Tokens of one calibration window. @default 256 */
  readonly sequenceLength?: number
  /** Damping added to H as a fraction of mean(diag H). @default 0.01 */
  readonly damping?: number
  /** Largest damping that the ladder may reach before the run stops. @default 1 */
  readonly dampingMax?: number
  /** An expert with fewer calibration tokens stops the run. @default 1 */
  readonly minTokensPerExpert?: number
  /**
   * Passes over the kept weights after the sweep, each moving every one to where the layer's error is lowest while the
   * others stay; 0 is SparseGPT as published. @default 1
   */
  readonly refine?: number
  /** Calibrate down on the intermediates of the pruned gate and up instead of the dense ones. @default false */
  readonly trueSequential?: boolean
  /** Body of the portable functions in model.onnx. @default 'stream' */
  readonly stockBody?: 'stream' | 'fold'
  /** Use the native products where they beat onnxruntime's (processors with AMX); the last bits differ. @default true */
  readonly native?: boolean
  /** @default 0 */
  readonly seed?: number
  /** Worker threads. @default the processors this process may use */
  readonly threads?: number
  /**
   * Bytes that the process with its workers may have resident at most, within a tenth; a run that cannot keep to it does
   * not begin. @default as much as is fastest, of three quarters of the machine's memory
   */
  readonly maxMemoryBytes?: number
  readonly onProgress?: (progress: Progress) => void
  /** Stops the run after the current piece of work; finished blocks stay on disk. */
  readonly signal?: AbortSignal
}

/** Statistics of one pruned matrix of one block. */
export type MatrixStats = {
  readonly matrix: 'gate_proj' | 'up_proj' | 'down_proj'
  /** Fraction of zeros over all experts. */
  readonly sparsity: number
  /** Relative output error of the experts on their own calibration tokens: sqrt(tr ΔHΔᵀ / tr WHWᵀ), H undamped. */
  readonly error: number
  /** The same of one expert for all tokens (SparseGPT), from the same dense weights and inputs. */
  readonly baselineError: number
  readonly experts: readonly ExpertStats[]
}

export type ExpertStats = {
  readonly tokens: number
  readonly error: number
  /** Damping that the factorisation needed, as a fraction of mean(diag H); 0 for methods without one. */
  readonly damping: number
  /** Factorisations tried, 1 when the first damping held. */
  readonly factorizations: number
  readonly deadInputs: number
}

export type BlockStats = {
  readonly layer: number
  readonly tokensPerExpert: readonly number[]
  /** Only with the split router: tokens per expert of the down projection. */
  readonly tokensPerDownExpert?: readonly number[]
  readonly matrices: readonly MatrixStats[]
}

/** The damping ladder over all experts of all matrices; methods without factorisations have none. */
export type DampingSummary = {
  /** Experts of matrices that were factored, and those whose first damping did not hold. */
  readonly experts: number
  readonly raised: number
  /** Factorisations that failed. */
  readonly failed: number
  /** The least and the largest damping that held, as fractions of mean(diag H). */
  readonly least: number
  readonly most: number
}

/** Whatever did not go the plain way; reaches the manifest and the screen. */
export type Fallback = { readonly where: string; readonly what: string; readonly because: string }

export type CompressResult = {
  readonly out: string
  readonly blocks: readonly BlockStats[]
  readonly fallbacks: readonly Fallback[]
  readonly damping?: DampingSummary
  /** Bytes of the FF weights: dense as stored in the source, and in the artifact (all experts). */
  readonly ffBytesDense: number
  readonly ffBytesStored: number
  /** Bytes of FF weights one token reads: dense, and in the artifact (one expert). */
  readonly ffBytesPerTokenDense: number
  readonly ffBytesPerToken: number
  readonly sparsity: number
  readonly resumedBlocks: number
  /** What the matrix products of the run were computed with. */
  readonly products: 'onnxruntime' | 'amx'
  /** Jobs that were run a second time because their worker died, with the same result. */
  readonly retries: readonly Fallback[]
  /** How the run kept to its memory, and what it was expected to take. */
  readonly memory: MemoryPlan
  /** Largest resident memory of this process and its workers since it began, bytes. */
  readonly peakBytes: number
  /** Processor time of all threads, ms. */
  readonly cpuMs: number
  readonly wallMs: number
  /** Wall time per stage, ms. */
  readonly stageMs: Readonly<Record<string, number>>
}

export type PlanResult = {
  readonly model: string
  readonly family: string
  readonly blocks: number
  readonly hidden: number
  readonly ff: number
  readonly parameters: number
  readonly ffParameters: number
  readonly experts: number
  readonly pattern: Pattern
  readonly values: ValueType
  /** Inputs that share a scale, 0 for whole rows; of int8 and int4 only. */
  readonly groupSize?: number
  readonly tokens: number
  /** FF weights in bytes: source dtype, and the artifact with all experts under their bitmask. */
  readonly ffBytesDense: number
  readonly ffBytesStored: number
  readonly ffBytesPerTokenDense: number
  readonly ffBytesPerToken: number
  /** Bytes of the artifact, and of disk needed while the run goes on. */
  readonly artifactBytes: number
  readonly diskBytes: number
  readonly freeDiskBytes: number
  /** How the run would keep to its memory, and the peak resident memory expected of it. */
  readonly memory: MemoryPlan
  /**
   * Time on the clock with nothing else on the machine, and of all processors together, from a probe of this machine;
   * absent when the probe was skipped.
   */
  readonly seconds?: number
  readonly cpuSeconds?: number
  /** Rate of one thread in 10⁹ operations a second, by what the run would use. */
  readonly probe?: { readonly gflops: number; readonly products: CompressResult['products'] }
  readonly tokensPerExpert: number
  /** Experts and sparsity by layer, from --experts-profile or proposed from a report. */
  readonly profile?: ExpertsProfile
  /** Matrices whose experts will see fewer tokens than inputs: H is singular and damping carries it. */
  readonly rankRisk: readonly string[]
  readonly warnings: readonly string[]
}

export type EvaluateOptions = GriffinOverrides & {
  /** Artifact folder, or a dense model folder. */
  readonly model: string
  readonly text?: TextSource
  /** Dense model to compare with. @default the artifact's source model, when it is where it was and unchanged */
  readonly dense?: string
  /** Leave out the FF neurons that each window's first tokens do not select; see predict(). @default all neurons */
  readonly griffin?: GriffinOption
  /** With `griffin`: tokens of a window that are its prompt. @default half of the window */
  readonly promptTokens?: number
  /** Run an artifact with its HiRE; without `dense` it is compared with itself without. @default false */
  readonly hire?: boolean
  /** Evaluation windows. @default 256 */
  readonly windows?: number
  /** @default 256 */
  readonly sequenceLength?: number
  readonly threads?: number
  /** Resident memory of the process with its workers to keep to, bytes; not with griffin and hire. @default what is fastest */
  readonly maxMemoryBytes?: number
  /** What computes the artifact. @default 'spexpand' where the native operators are built, else 'cpu'; `runtime` says which */
  readonly provider?: Provider
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/** Next-token quality over some targets. */
export type Quality = {
  readonly targets: number
  readonly perplexity: number
  /** Standard error of the perplexity: windows are the sampling unit. */
  readonly standardError: number
  readonly nll: number
  /** Mean KL(dense ‖ model) in nats and share of targets with the same top token; absent without a dense model. */
  readonly kl?: number
  readonly topOneAgreement?: number
  readonly densePerplexity?: number
}

export type EvaluateResult = Quality & {
  readonly model: string
  readonly windows: number
  readonly sequenceLength: number
  readonly domains: Readonly<Record<string, Quality>>
  /** With GRIFFIN: what was left out, and the same with all neurons. */
  readonly griffin?: GriffinEvaluation
  /** What computed the logits, e.g. 'onnxruntime cpu, portable functions (stream)'. */
  readonly runtime: string
  /** Why KL is missing, when it is. */
  readonly note?: string
  /** Largest resident memory of the process so far, with its workers, bytes. */
  readonly peakBytes: number
  readonly wallMs: number
}
