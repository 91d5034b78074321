import type { LayerProfile } from '../src/mixture/profile.ts'
import type { ValueType } from '../src/mixture/values.ts'
import type { BlockStats, Fallback } from '../src/pipeline/types.ts'
import type { StockBody } from './functions.ts'

/** Version of spexpand.json and of the layout it describes (docs/formats.md, export/schema/spexpand.schema.json). */
export const FORMAT_VERSION = 1
export const MANIFEST = 'spexpand.json'

export type OptionValue = string | number | boolean

/** The dense model that an artifact was made from. */
export type Source = {
  /** SHA-256 over the lines "hash  name" of the files. */
  readonly sha256: string
  readonly files: readonly { readonly name: string; readonly sha256: string }[]
}

/** spexpand.json: everything about an artifact that its files do not say themselves. No dates, no paths. */
export type Manifest = {
  readonly formatVersion: typeof FORMAT_VERSION
  readonly tool: { readonly name: 'spexpand'; readonly version: string }
  readonly source: Source & { readonly name: string }
  readonly options: Readonly<Record<string, OptionValue>>
  readonly mixture: {
    readonly layers: number
    /** Per FF layer; the largest number where a profile gives every layer its own. */
    readonly experts: number
    /** Experts and sparsity by layer, when they were given so (--experts-profile). */
    readonly profile?: readonly LayerProfile[]
    readonly router: 'none' | 'shared' | 'split'
    /** Fraction of zeros over all FF weights of all experts. */
    readonly sparsity: number
    /** How kept weights are stored. */
    readonly values: ValueType
    /** Inputs that share a scale, 0 for whole rows; of int8 and int4 only. */
    readonly groupSize?: number
    readonly stockBody: StockBody
  }
  readonly blocks: readonly BlockStats[]
  readonly fallbacks: readonly Fallback[]
  /** Every other file of the artifact, by name. */
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[]
}

/** The bytes of spexpand.json. */
export function encodeManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, undefined, 2)}\n`
}
