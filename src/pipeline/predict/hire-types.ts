import type { HireLayer, HirePredictor, HireSoftmax } from '../../predict/predictor.ts'
import type { ShardRow } from './hire-shards.ts'
import type { HireSpeed } from './hire-speed.ts'
import type { Progress, Quality, TextSource } from '../types.ts'

/** Version of the `hire` section of spexpand.json (docs/formats.md). */
export const HIRE_VERSION = 1

export type HireOptions = {
  /** Dense model folder, or an artifact (its softmax only). @default the embedded demo model */
  readonly model?: string
  /** 'lr': activation-aware low-rank factors; 'q': rows as whole numbers. */
  readonly kind: 'lr' | 'q'
  /** Rank of every predictor of kind 'lr'. @default chosen by layer, for the fewest bytes a token */
  readonly rank?: number
  /** Bits of kind 'q'. @default 4 */
  readonly bits?: 8 | 4
  /** Inputs that share a scale, of kind 'q'. @default 32 */
  readonly groupSize?: 32 | 64 | 128
  /** Least share of the k that count among the k' predicted, on the choosing text. @default 0.98 */
  readonly recall?: number
  /** Largest KL(dense ‖ model) of the FF layers on the choosing text, nats a token: then recall is lowered to it. */
  readonly klBudget?: number
  /** What gets predictors. @default 'both', for an artifact 'softmax' */
  readonly parts?: 'both' | 'ff' | 'softmax'
  /** Neurons that count, a share of the FF layer. @default 0.25 */
  readonly share?: number
  /** Tokens of the softmax that count. @default 32 */
  readonly softmaxK?: number
  /** Neurons that are selected together; above 1 they are sorted by co-activation first. @default 1 */
  readonly group?: number
  /** Neurons among the k that count for at least this share of tokens are always selected. @default none */
  readonly always?: number
  /** After the exact products keep all k', or only the k largest. @default 'all' */
  readonly keep?: 'all' | 'k'
  /** Calibration text. @default the bundled calibration text */
  readonly calibration?: TextSource
  /** Calibration tokens. @default 16384 */
  readonly tokens?: number
  /** Tokens, of the calibration text too, that rank and k' are chosen on. @default 2048 */
  readonly choosingTokens?: number
  /** Text that quality is measured on. @default the bundled evaluation text */
  readonly text?: TextSource
  /** Evaluation windows. @default 32 */
  readonly windows?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** @default 0 */
  readonly seed?: number
  /** Also measure quality with k' = 5, 10, 25, 50, 75 % of the neurons of every layer, and speed. @default false */
  readonly tables?: boolean
  /** Also time what was written, and k' = 5, 10, 25, 50, 75 % of the neurons. @default as `tables` */
  readonly speed?: boolean
  /** Folder to write. @default an artifact is added to; nothing is written of a dense model */
  readonly out?: string
  readonly threads?: number
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/** Recall of the largest candidate k' of a predictor: what a choice was made from. */
export type HireCandidate = {
  /** Decoder block, or 'softmax'. */
  readonly where: number | 'softmax'
  readonly predictor: HirePredictor
  /** The smallest k' that reaches the recall wanted, and the bytes a token then reads: predictor and exact rows. */
  readonly kPrime: number
  readonly bytes: number
  /** Recall at k' = k, 1.5 k, 2 k, 3 k, 4 k (those within the width). */
  readonly recall: readonly { readonly kPrime: number; readonly recall: number }[]
}

/** The `hire` section of spexpand.json. No dates, no paths. */
export type HireSection = {
  readonly version: typeof HIRE_VERSION
  readonly graph: 'hire.onnx'
  readonly weights: 'hire.safetensors'
  /** What neurons and rows are scored by, in words. */
  readonly definition: string
  readonly keep: 'all' | 'k'
  /** Logits of rows that were not selected. */
  readonly rest: 'predicted'
  readonly recallWanted: number
  readonly layers: readonly HireLayer[]
  readonly softmax?: HireSoftmax
  readonly text: {
    readonly calibrationTokens: number
    readonly choosingTokens: number
    readonly sequenceLength: number
  }
}

export type HireResult = {
  readonly model: string
  readonly hire: HireSection
  readonly candidates: readonly HireCandidate[]
  /** KL of the FF layers on the choosing text, where there is a budget. */
  readonly chosenKl?: number
  /** Bytes a token reads of FF weights and of the head, as stored: dense, and with HiRE. */
  readonly bytes: { readonly ff: readonly [number, number]; readonly head: readonly [number, number] }
  /** Measured on the written files; absent when nothing was written. */
  readonly quality?: Quality
  readonly out?: string
  /** With `tables`: the FF layers (the softmax exact) at one density each. */
  readonly tables?: readonly HireDensity[]
  /** DA-TOP-k of the softmax over 1 to 64 shards. */
  readonly shards?: readonly ShardRow[]
  /** With `tables` or `speed`: decoding as written, and at the same densities. */
  readonly speed?: HireSpeed
}

/** Quality with the same share of neurons computed in every layer. */
export type HireDensity = {
  /** k' / ff. */
  readonly density: number
  readonly predictor: HirePredictor
  readonly quality: Quality
  /** Share of the true top k'/2 among the k', mean over layers, on the evaluation text. */
  readonly recall: number
}

export const HIRE_DEFINITION =
  "FF: |silu(gate x) * up x|, gate and up predicted; softmax: the logit; the k' largest predicted are computed exactly"
