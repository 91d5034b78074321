import type { Quality } from '../pipeline/types.ts'

type Scored = { readonly accuracy: number; readonly nll: number }
type Median = { readonly medianMs: number }
type Sides = { readonly dense: Median; readonly gathered: Median; readonly native?: Median }

/** What a page about GRIFFIN shows: the report of predict() and what only the page has. */
export type GriffinPageData = {
  readonly tool: { readonly name: string; readonly version: string }
  readonly source: { readonly name: string; readonly sha256: string }
  readonly model:
    | { readonly kind: 'dense' }
    | { readonly kind: 'artifact'; readonly experts: number; readonly router: string }
  readonly scores: string
  readonly select: string
  readonly reference: 'dense' | 'self'
  readonly densities: readonly number[]
  readonly text: { readonly windows: number; readonly sequenceLength: number; readonly promptTokens: number }
  readonly dense: Quality
  readonly quality: readonly {
    readonly scores: string
    readonly select: string
    readonly density: number
    readonly quality: Quality
  }[]
  readonly copy: {
    readonly passages: number
    readonly passageTokens: number
    readonly all: Scored
    readonly densities: readonly ({ readonly density: number } & Scored)[]
  }
  readonly flocking: readonly {
    readonly layer: number
    readonly density: number
    readonly betweenPrompts: number
    readonly promptToContinuation: number
    readonly chance: number
  }[]
  readonly flockingCurve: readonly {
    readonly density: number
    readonly betweenPrompts: number
    readonly promptToContinuation: number
    readonly chance: number
  }[]
  readonly heat: readonly {
    readonly layer: number
    readonly firstToken: number
    readonly promptTokens: number
    readonly neurons: readonly number[]
    readonly rows: readonly (readonly number[])[]
  }[]
  /** Decoding of one token by density; absent where it was not timed. */
  readonly speed?: readonly { readonly density: number; readonly ff: Sides; readonly model: Sides }[]
}
