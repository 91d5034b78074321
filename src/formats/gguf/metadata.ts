import { FormatError } from '../../errors.ts'
import type { Cursor } from './cursor.ts'

/** A metadata value. 64-bit integers are bigint only where a number would not be exact. */
export type MetadataValue = number | bigint | boolean | string | readonly MetadataValue[]
export type Metadata = ReadonlyMap<string, MetadataValue>

/** Far above the 600,000 merges of the largest tokenizers. */
const MAX_ARRAY_LENGTH = 8_000_000
const ARRAY = 9
/** Lists of lists exist in the format and in no model known; this deep is deep enough. */
const MAX_DEPTH = 2

/** Readers of the value types by their number, with the fewest bytes a value takes (ggml docs/gguf.md). */
const SCALARS: ReadonlyMap<number, { readonly bytes: number; readonly read: (cursor: Cursor) => MetadataValue }> =
  new Map([
    [0, { bytes: 1, read: (c: Cursor) => c.u8() }],
    [1, { bytes: 1, read: (c: Cursor) => c.i8() }],
    [2, { bytes: 2, read: (c: Cursor) => c.u16() }],
    [3, { bytes: 2, read: (c: Cursor) => c.i16() }],
    [4, { bytes: 4, read: (c: Cursor) => c.u32() }],
    [5, { bytes: 4, read: (c: Cursor) => c.i32() }],
    [6, { bytes: 4, read: (c: Cursor) => c.f32() }],
    [7, { bytes: 1, read: (c: Cursor) => c.u8() !== 0 }],
    [8, { bytes: 8, read: (c: Cursor) => c.string('a metadata string') }],
    [10, { bytes: 8, read: (c: Cursor) => exact(c.u64()) }],
    [11, { bytes: 8, read: (c: Cursor) => exact(c.i64()) }],
    [12, { bytes: 8, read: (c: Cursor) => c.f64() }],
  ])

/** Reads the value of metadata key `key`. Throws FormatError naming path, key, got and wanted. */
export function readValue(cursor: Cursor, key: string, path: string, type = cursor.u32(), depth = 0): MetadataValue {
  const scalar = SCALARS.get(type)
  if (scalar) return scalar.read(cursor)
  if (type !== ARRAY || depth >= MAX_DEPTH)
    throw new FormatError(
      `Cannot read ${path}: metadata "${key}" has type ${type}${depth > 0 ? ` at depth ${depth}` : ''}, ` +
        'expected 0 to 12, lists at most two deep',
    )
  const itemType = cursor.u32()
  const length = cursor.size(`the number of items of "${key}"`, MAX_ARRAY_LENGTH)
  // Even empty strings and lists take 8 and 12 bytes: a lying count ends here, before a list of that length exists.
  cursor.expect(length * (SCALARS.get(itemType)?.bytes ?? 12), `the list "${key}"`)
  const items: MetadataValue[] = []
  for (let i = 0; i < length; i++) items.push(readValue(cursor, key, path, itemType, depth + 1))
  return items
}

function exact(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
