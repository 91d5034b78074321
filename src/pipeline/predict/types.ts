import type { Provider } from '../../runtime/session.ts'
import type { SelectionMethod } from '../../predict/select.ts'
import type { GriffinScores } from './griffin-sets.ts'
import type { Progress, Quality, TextSource } from '../types.ts'

/** Version of griffin.json (docs/predict.md). */
export const GRIFFIN_VERSION = 1
/** What the statistic is, for readers of the file. */
export const STATISTIC_DEFINITION =
  's_j = sqrt(sum over prompt tokens t of (z_tj / |z_t|)^2), z = act(gate x) * up x, without a gate act(up x); keep the floor(ff * density) largest'

export type PredictGriffinOptions = {
  /** Dense model folder, or artifact. @default the embedded demo model */
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
  /** How the set comes from the ranking. @default 'top-k' */
  readonly select?: SelectionMethod
  /** Seed of the methods that draw. @default 0 */
  readonly seed?: number
  /** @default 64 */
  readonly windows?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** Tokens of a window that are the prompt; the others are predicted. @default half of the window */
  readonly promptTokens?: number
  readonly threads?: number
  /** What computes the experts of an artifact. @default 'spexpand' where the native operators are built, else 'cpu' */
  readonly provider?: Provider
  /** Dense model that an artifact was made from. @default the embedded demo model, if it is the source */
  readonly dense?: string
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

/** What share of a token's ‖z‖ neurons have: tokens around the end of a prompt, the neurons it needs most. */
export type FlockingHeat = {
  readonly layer: number
  readonly firstToken: number
  readonly promptTokens: number
  readonly neurons: readonly number[]
  /** |z_j| / ‖z‖ by token and neuron. */
  readonly rows: readonly (readonly number[])[]
}

/** How well a passage that comes a second time is predicted: share of top tokens, and −log p in nats a token. */
export type CopyScore = { readonly accuracy: number; readonly nll: number }

/** Quality with all layers at one density, neurons ranked and selected in one way. */
export type GriffinQuality = {
  readonly scores: GriffinScores
  readonly select: SelectionMethod
  readonly density: number
  readonly quality: Quality
}

/** griffin.json: everything a runtime needs to run GRIFFIN on a model, and what that costs. No dates, no paths. */
export type GriffinReport = {
  readonly formatVersion: typeof GRIFFIN_VERSION
  readonly tool: { readonly name: 'spexpand'; readonly version: string }
  /** The dense model: SHA-256 of its files as in spexpand.json. */
  readonly source: { readonly name: string; readonly sha256: string }
  readonly statistic: string
  readonly scores: GriffinScores
  readonly select: SelectionMethod
  readonly seed: number
  /** Share of neurons that each layer keeps. */
  readonly densities: readonly number[]
  readonly schedule?: {
    readonly klBudget: number
    /** On windows that nothing was chosen on. */
    readonly quality: Quality
    /** Windows that densities were chosen on, and others that they were checked on. */
    readonly windows: number
    readonly heldOut: number
    /** KL of one layer alone at densities 0.75, 0.5, 0.25: [layer][i]. */
    readonly layerKl: readonly (readonly number[])[]
    readonly undone: number
  }
  readonly text: { readonly windows: number; readonly sequenceLength: number; readonly promptTokens: number }
  /** What was measured; a mixture has experts with neurons that share their numbers. */
  readonly model:
    | { readonly kind: 'dense' }
    | { readonly kind: 'artifact'; readonly experts: number; readonly router: string }
  /** Quality of the text behind the prompts: with all neurons, and at densities, all layers alike. */
  readonly dense: Quality
  readonly quality: readonly GriffinQuality[]
  /** What KL and agreement are measured against: the dense model, or (it was not there) the artifact with all neurons. */
  readonly reference: 'dense' | 'self'
  /** Second occurrences of passages that only copying predicts: with all neurons, and at densities. */
  readonly copy: {
    readonly passages: number
    readonly passageTokens: number
    readonly cueTokens: number
    readonly all: CopyScore
    readonly densities: readonly ({ readonly density: number } & CopyScore)[]
  }
  readonly flocking: readonly Flocking[]
  /** Means over the layers, by density. */
  readonly flockingCurve: readonly Omit<Flocking, 'layer'>[]
  /** Neurons of each layer, the most useful first, over all prompts. */
  readonly order: readonly (readonly number[])[]
}
