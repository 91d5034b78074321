import type { LayerProfile } from '../src/mixture/profile.ts'
import type { ValueType } from '../src/mixture/values.ts'
import { textSha256 } from '../src/formats/sha256.ts'
import type { BlockStats, DampingSummary, Fallback } from '../src/pipeline/types.ts'
import type { FileEntry } from './file-entry.ts'
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
  readonly damping?: DampingSummary
  readonly fallbacks: readonly Fallback[]
  /** Every other file of the artifact, by name. */
  readonly files: readonly FileEntry[]
  /** SHA-256 of spexpand.json with these 64 digits as zeros; encodeManifest() puts it there. */
  readonly manifestSha256?: string
}

const UNSEALED = '0'.repeat(64)

/** The bytes of spexpand.json, its own checksum at the end. */
export function encodeManifest(manifest: Manifest): string {
  const { manifestSha256: _, ...rest } = manifest
  const text = `${JSON.stringify({ ...rest, manifestSha256: UNSEALED }, undefined, 2)}\n`
  const at = text.lastIndexOf(UNSEALED)
  return text.slice(0, at) + textSha256(text) + text.slice(at + UNSEALED.length)
}
