import { FormatError } from '../../errors.ts'
import { DTYPE_BYTES } from '../../tensor/dtype.ts'
import type { DType } from '../../tensor/dtype.ts'
import { parseStrictJson } from '../json.ts'
import type { JsonValue } from '../json.ts'

/** Same limit as the Rust reference: a lying length must not make us allocate. */
export const MAX_HEADER_BYTES = 100_000_000

/** Element types that the format knows and this project does not read, with their bits (Rust reference 0.8.0). */
const FOREIGN_DTYPE_BITS = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  C64: 64,
} as const
export type ForeignDType = keyof typeof FOREIGN_DTYPE_BITS

/** One entry of the header; offsets in bytes from the start of the data. */
export type HeaderEntry = {
  readonly name: string
  readonly dtype: DType | ForeignDType
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

export type Header = { readonly entries: readonly HeaderEntry[]; readonly metadata: ReadonlyMap<string, string> }

/** Whether this project reads tensors of that type. */
export function isReadable(dtype: DType | ForeignDType): dtype is DType {
  return Object.hasOwn(DTYPE_BYTES, dtype)
}

/**
 * Parses and checks a safetensors header as strictly as the format text: a UTF-8 JSON object without repeated keys,
 * known types, byte ranges that fit shape and type and cover all `dataBytes` without gap or overlap. Entries keep the
 * order of the header.
 * Throws FormatError naming `path`, tensor, field, got and wanted.
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number, path: string): Header {
  const root = parseJson(bytes, path)
  const entries: HeaderEntry[] = []
  let metadata = new Map<string, string>()
  for (const [name, value] of root)
    if (name === '__metadata__') metadata = parseMetadata(value, path)
    else entries.push(parseEntry(name, value, path))
  checkCoverage(entries, dataBytes, path)
  return { entries, metadata }
}

function parseJson(bytes: Uint8Array, path: string): Map<string, JsonValue> {
  if (bytes[0] !== 0x7b)
    throw new FormatError(
      `Cannot read ${path}: the header begins with ${bytes.length > 0 ? `byte ${bytes[0]}` : 'nothing'}, expected "{"`,
    )
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new FormatError(`Cannot read ${path}: the header is not UTF-8`, { cause })
  }
  try {
    return parseStrictJson(text) as Map<string, JsonValue>
  } catch (cause) {
    throw new FormatError(`Cannot read ${path}: the header is not JSON: ${(cause as Error).message}`, { cause })
  }
}

function parseMetadata(value: JsonValue, path: string): Map<string, string> {
  if (!(value instanceof Map))
    throw new FormatError(`Cannot read ${path}: __metadata__ is ${kindOf(value)}, expected an object of strings`)
  const metadata = new Map<string, string>()
  for (const [key, text] of value) {
    if (typeof text !== 'string')
      throw new FormatError(`Cannot read ${path}: __metadata__.${key} is ${kindOf(text)}, expected a string`)
    metadata.set(key, text)
  }
  return metadata
}

function parseEntry(name: string, value: JsonValue, path: string): HeaderEntry {
  const where = `Cannot read ${path}: tensor ${JSON.stringify(name)}`
  if (!(value instanceof Map)) throw new FormatError(`${where} is ${kindOf(value)}, expected an object`)
  const dtype = value.get('dtype')
  if (typeof dtype !== 'string') throw new FormatError(`${where}: dtype is ${kindOf(dtype)}, expected a string`)
  const bits = bitsOf(dtype)
  if (bits === undefined)
    throw new FormatError(`${where}: dtype is "${dtype}", expected one of ${knownDtypes().join(', ')}`)
  const shape = sizes(value.get('shape'), `${where}: shape`)
  const offsets = sizes(value.get('data_offsets'), `${where}: data_offsets`)
  if (offsets.length !== 2)
    throw new FormatError(`${where}: data_offsets has ${offsets.length} numbers, expected 2 (begin and end)`)
  const [begin, end] = offsets as [number, number]
  if (begin > end) throw new FormatError(`${where}: data_offsets ends at ${end}, before it begins at ${begin}`)
  // BigInt: the product of a hostile shape passes 2^64 before it could be compared.
  const totalBits = shape.reduce((n, dim) => n * BigInt(dim), BigInt(bits))
  if (totalBits !== BigInt(end - begin) * 8n)
    throw new FormatError(
      `${where}: data_offsets span ${end - begin} bytes, ${dtype} [${shape.join(', ')}] needs ${bytesText(totalBits)}`,
    )
  return { name, dtype: dtype as DType | ForeignDType, shape, begin, end }
}

/** A list of unsigned integers; above 2^53 they could not be real sizes, and would not be exact here. */
function sizes(value: JsonValue | undefined, where: string): number[] {
  if (!Array.isArray(value)) throw new FormatError(`${where} is ${kindOf(value)}, expected a list of integers`)
  return value.map((item, i) => {
    if (typeof item !== 'bigint')
      throw new FormatError(`${where}[${i}] is ${kindOf(item)}, expected an integer of 0 or more`)
    if (item < 0n || item > BigInt(Number.MAX_SAFE_INTEGER))
      throw new FormatError(`${where}[${i}] is ${item}, expected 0 to 2^53 - 1`)
    return Number(item)
  })
}

/** The ranges, in order, must touch each other from 0 to the end of the file. */
function checkCoverage(entries: readonly HeaderEntry[], dataBytes: number, path: string): void {
  let at = 0
  for (const entry of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== at)
      throw new FormatError(
        `Cannot read ${path}: tensor ${JSON.stringify(entry.name)} begins at data byte ${entry.begin}, ` +
          `expected ${at}: tensors ${entry.begin < at ? 'overlap' : 'leave a gap'}`,
      )
    at = entry.end
  }
  if (at !== dataBytes)
    throw new FormatError(
      `Cannot read ${path}: ${dataBytes} bytes of data follow the header, its tensors need ${at}: ` +
        (at > dataBytes ? 'the file is cut short' : 'unknown bytes at the end'),
    )
}

function bitsOf(dtype: string): number | undefined {
  if (Object.hasOwn(DTYPE_BYTES, dtype)) return DTYPE_BYTES[dtype as DType] * 8
  return Object.hasOwn(FOREIGN_DTYPE_BITS, dtype) ? FOREIGN_DTYPE_BITS[dtype as ForeignDType] : undefined
}

function knownDtypes(): string[] {
  return [...Object.keys(DTYPE_BYTES), ...Object.keys(FOREIGN_DTYPE_BITS)]
}

function bytesText(bits: bigint): string {
  return bits % 8n === 0n ? `${bits / 8n}` : `${bits / 8n} and ${bits % 8n}/8`
}

function kindOf(value: JsonValue | undefined): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (value instanceof Map) return 'an object'
  if (typeof value === 'string') return `the string ${JSON.stringify(value.slice(0, 40))}`
  return `${typeof value === 'boolean' ? 'the boolean' : 'the number'} ${value}`
}
