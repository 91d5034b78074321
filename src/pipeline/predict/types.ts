import type { GriffinScores } from './griffin-sets.ts'
import type { Progress, Quality, TextSource } from '../types.ts'

/** Version of griffin.json (docs/predict.md). */
export const GRIFFIN_VERSION = 1
/** What the statistic is, for readers of the file. */
export const STATISTIC_DEFINITION =
  's_j = sqrt(sum over prompt tokens t of (z_tj / |z_t|)^2), z = act(gate x) * up x; keep the floor(ff * density) largest'

export type PredictGriffinOptions = {
  /** Dense model folder. @default the embedded demo model */
  readonly model?: string
  /** @default the bundled evaluation text */
  readonly text?: TextSource
  /** Share of neurons kept, of all layers together. @default 0.5 */
  readonly density?: number
  /**
   * Largest KL(dense ‖ model), nats a token, that a schedule of densities may cost. @default no schedule: every layer
   * alike
   */
  readonly klBudget?: number
  /** What neurons are ranked by. @default 'statistic' */
  readonly scores?: GriffinScores
  /** @default 64 */
  readonly windows?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** Tokens of a window that are the prompt; the others are predicted. @default half of the window */
  readonly promptTokens?: number
  readonly threads?: number
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/** How much the sets of one layer have in common (Jaccard index). */
export type Flocking = {
  readonly layer: number
  readonly density: number
  /** Mean over pairs of prompts, and of a prompt with its own continuation. */
  readonly betweenPrompts: number
  readonly promptToContinuation: number
  /** What two random sets of that size have. */
  readonly chance: number
}

/** griffin.json: everything a runtime needs to run GRIFFIN on a model, and what that costs. No dates, no paths. */
export type GriffinReport = {
  readonly formatVersion: typeof GRIFFIN_VERSION
  readonly tool: { readonly name: 'spexpand'; readonly version: string }
  /** The dense model: SHA-256 of its files as in spexpand.json. */
  readonly source: { readonly name: string; readonly sha256: string }
  readonly statistic: string
  readonly scores: GriffinScores
  /** Share of neurons that each layer keeps. */
  readonly densities: readonly number[]
  readonly schedule?: {
    readonly klBudget: number
    readonly quality: Quality
    /** KL of one layer alone at densities 0.75, 0.5, 0.25: [layer][i]. */
    readonly layerKl: readonly (readonly number[])[]
    readonly undone: number
  }
  readonly text: { readonly windows: number; readonly sequenceLength: number; readonly promptTokens: number }
  /** Quality of the text behind the prompts: dense, and at densities, all layers alike. */
  readonly dense: Quality
  readonly quality: readonly { readonly scores: GriffinScores; readonly density: number; readonly quality: Quality }[]
  readonly flocking: readonly Flocking[]
  /** Neurons of each layer, the most useful first, over all prompts. */
  readonly order: readonly (readonly number[])[]
}
