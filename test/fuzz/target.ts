import * as fc from 'fast-check'
import type { ByteChange } from './byte-changes.ts'
import { changedBytes } from './byte-changes.ts'
import { changedJson } from './json-changes.ts'
import { changedMessage } from './protobuf-changes.ts'

/** A valid file. */
export type Seed = {
  readonly bytes: Uint8Array
  /** The JSON in it, and the file that has another one in its place. */
  readonly json?: { readonly text: string; readonly rebuild: (text: string) => Uint8Array }
  /** Whether it is a protobuf message. */
  readonly isMessage?: boolean
}

/** A reader of files from outside, and what it is fuzzed with. */
export type Target = {
  readonly name: string
  readonly seeds: readonly Seed[]
  /** Share of all inputs, beside those of others: less for slow ones. @default 1 */
  readonly share?: number
  /** Pieces of the format, to be spliced in whole. */
  readonly words?: readonly string[]
  /**
   * Reads the bytes as the product does: parses, or throws one of src/errors.ts. One that calls the product several times
   * says `next()` between the calls: the limit of time is each call's own.
   */
  readonly read: (bytes: Uint8Array, next: () => void) => unknown
}

/** A valid file and the changes to make; plain numbers, so that fast-check can shrink and repeat it. */
export type Recipe = {
  readonly seed: number
  readonly how: number
  readonly changes: readonly ByteChange[]
}

const number = fc.nat({ max: 2 ** 31 - 1 })

export const recipes: fc.Arbitrary<Recipe> = fc.record({
  seed: fc.nat({ max: 1000 }),
  how: fc.nat({ max: 3 }),
  changes: fc.array(fc.record({ where: number, what: fc.nat({ max: 98 }), which: number }), {
    minLength: 1,
    maxLength: 6,
  }),
})

/** The input that a recipe describes. */
export function inputOf({ seeds, words = [] }: Target, { seed, how, changes }: Recipe): Uint8Array {
  const { bytes, json, isMessage } = seeds[seed % seeds.length]!
  if (json && how > 0) return json.rebuild(changedJson(json.text, changes))
  if (isMessage && how > 0) return changedMessage(Buffer.from(bytes), changes)
  return changedBytes(bytes, changes, seeds[(seed + 1) % seeds.length]!.bytes, words)
}

/** A seed that is JSON as a whole. */
export function jsonSeed(value: unknown): Seed {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return { bytes: Buffer.from(text), json: { text, rebuild: (changed) => Buffer.from(changed) } }
}
