import { FormatError, UnsupportedError } from '../../errors.ts'
import type { OpenFile } from '../bytes.ts'
import { Cursor } from './cursor.ts'
import type { Kind } from './kinds.ts'
import { kindOfTensor } from './kinds.ts'
import type { Metadata, MetadataValue } from './metadata.ts'
import { readValue } from './metadata.ts'

/** A tensor of the file; its bytes lie at `offset` from the start of the file, row after row. */
export type GgufTensor = {
  readonly name: string
  readonly kind: Kind
  /** Row-major, slowest first: the file's own order reversed, so a matrix is (out, in). */
  readonly shape: readonly number[]
  readonly offset: number
  readonly byteLength: number
}

export type GgufHeader = { readonly metadata: Metadata; readonly tensors: ReadonlyMap<string, GgufTensor> }

const MAGIC = 0x46554747 // 'GGUF' as a little-endian number
const MAX_KEYS = 100_000
const MAX_TENSORS = 1_000_000
const MAX_DIMS = 4 // of ggml
const DEFAULT_ALIGNMENT = 32
const MAX_ALIGNMENT = 1 << 20

/**
 * Reads and checks the header of a GGUF file (versions 2 and 3, little-endian; ggml docs/gguf.md): no key and no tensor
 * twice, every tensor whole inside the file, none over another. Memory stays in proportion to the bytes that are there.
 * Throws FormatError naming path, place, got and wanted; UnsupportedError for other versions and kinds of tensor.
 */
export function readGgufHeader(file: OpenFile): GgufHeader {
  const { path } = file
  const cursor = new Cursor(file)
  checkVersion(cursor, path)
  const tensorCount = cursor.size('the number of tensors', MAX_TENSORS)
  const keyCount = cursor.size('the number of metadata keys', MAX_KEYS)
  const metadata = new Map<string, MetadataValue>()
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string('a metadata key')
    if (metadata.has(key)) throw new FormatError(`Cannot read ${path}: metadata "${key}" appears twice`)
    metadata.set(key, readValue(cursor, key, path))
  }
  const entries = Array.from({ length: tensorCount }, () => readEntry(cursor, path))
  const alignment = alignmentOf(metadata, path)
  const dataStart = Math.ceil(cursor.at / alignment) * alignment
  const tensors = entries.map((entry) => placed(entry, dataStart, alignment, file))
  checkOverlap(tensors, path)
  return { metadata, tensors: named(tensors, path) }
}

function checkVersion(cursor: Cursor, path: string): void {
  if (cursor.u32() !== MAGIC) throw new FormatError(`Cannot read ${path}: it does not begin with "GGUF"`)
  const version = cursor.u32()
  if (version === 2 || version === 3) return
  const isBigEndian = (version & 0xffff) === 0
  throw new UnsupportedError(
    `Cannot read ${path}: ${isBigEndian ? 'it is big-endian' : `its version is ${version}`}, ` +
      'supported are versions 2 and 3, little-endian: convert it anew',
  )
}

type Entry = { name: string; dims: number[]; kindId: number; relative: number }

function readEntry(cursor: Cursor, path: string): Entry {
  const name = cursor.string('a tensor name')
  const count = cursor.u32()
  if (count < 1 || count > MAX_DIMS)
    throw new FormatError(`Cannot read ${path}: tensor "${name}" has ${count} dimensions, expected 1 to ${MAX_DIMS}`)
  const dims = Array.from({ length: count }, () => cursor.size(`a dimension of "${name}"`, Number.MAX_SAFE_INTEGER))
  const kindId = cursor.u32()
  return { name, dims, kindId, relative: cursor.size(`the offset of "${name}"`, Number.MAX_SAFE_INTEGER) }
}

function placed(
  { name, dims, kindId, relative }: Entry,
  dataStart: number,
  alignment: number,
  file: OpenFile,
): GgufTensor {
  const { path } = file
  const kind = kindOfTensor(kindId, name, path)
  if (dims[0]! % kind.elements !== 0)
    throw new FormatError(
      `Cannot read ${path}: rows of tensor "${name}" have ${dims[0]} numbers, ${kind.name} wants a multiple of ${kind.elements}`,
    )
  if (relative % alignment !== 0)
    throw new FormatError(
      `Cannot read ${path}: tensor "${name}" begins at data byte ${relative}, expected a multiple of ${alignment}`,
    )
  // BigInt: the product of hostile dimensions passes 2^64 before it could be compared.
  const blocks = dims.reduce((n, dim) => n * BigInt(dim), 1n) / BigInt(kind.elements)
  const end = BigInt(dataStart + relative) + blocks * BigInt(kind.bytes)
  if (end > BigInt(file.byteLength))
    throw new FormatError(
      `Cannot read ${path}: tensor "${name}" (${kind.name} [${dims.join(', ')}]) ends at byte ${end}, ` +
        `the file has ${file.byteLength}: it is cut short`,
    )
  const byteLength = Number(blocks) * kind.bytes
  return { name, kind, shape: dims.toReversed(), offset: dataStart + relative, byteLength }
}

function alignmentOf(metadata: Metadata, path: string): number {
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT
  if (typeof alignment === 'number' && alignment >= 8 && alignment <= MAX_ALIGNMENT && alignment % 8 === 0)
    return alignment
  throw new FormatError(
    `Cannot read ${path}: general.alignment is ${String(alignment)}, expected a multiple of 8 up to ${MAX_ALIGNMENT}`,
  )
}

function checkOverlap(tensors: readonly GgufTensor[], path: string): void {
  const sorted = [...tensors].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)
  for (let i = 1; i < sorted.length; i++) {
    const [one, next] = [sorted[i - 1]!, sorted[i]!]
    if (one.offset + one.byteLength > next.offset)
      throw new FormatError(
        `Cannot read ${path}: tensors "${one.name}" and "${next.name}" overlap at byte ${next.offset}`,
      )
  }
}

function named(tensors: readonly GgufTensor[], path: string): Map<string, GgufTensor> {
  const map = new Map<string, GgufTensor>()
  for (const tensor of tensors) {
    if (map.has(tensor.name)) throw new FormatError(`Cannot read ${path}: tensor "${tensor.name}" appears twice`)
    map.set(tensor.name, tensor)
  }
  return map
}
