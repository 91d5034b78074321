import { DTYPE_BYTES, elementCount } from '../../tensor/dtype.ts'
import type { DType } from '../../tensor/dtype.ts'
import { MAX_HEADER_BYTES } from './header.ts'

/** A tensor to be written. */
export type TensorEntry = { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] }

/** Where the bytes of one tensor will lie; `offset` in bytes from the start of the file. */
export type PlannedTensor = TensorEntry & { readonly offset: number; readonly byteLength: number }

/** A safetensors file before it is written. */
export type SafetensorsPlan = {
  /** Length field and header: the first bytes of the file. */
  readonly head: Uint8Array
  /** In the order of their data. */
  readonly tensors: ReadonlyMap<string, PlannedTensor>
  /** Bytes of the whole file. */
  readonly byteLength: number
}

/** Data begins at a multiple of this: a cache line, and more than any element or vector load needs. */
const DATA_ALIGNMENT = 64

/**
 * Lays out a safetensors file: data by falling element size, and in the given order among equals, so that every tensor
 * is aligned to its element (the format allows no gaps); header padded with spaces so that data begins at a multiple of
 * 64; metadata keys sorted. Equal arguments give equal bytes.
 * Throws RangeError on a repeated or impossible name, a dimension that is no size, or a header above the format's limit.
 */
export function planSafetensors(
  entries: readonly TensorEntry[],
  metadata: Readonly<Record<string, string>> = {},
): SafetensorsPlan {
  const sorted = [...entries].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype])
  const sizes = sorted.map(byteLengthOf)
  const head = encodeHead(sorted, sizes, metadata)
  const tensors = new Map<string, PlannedTensor>()
  let offset = head.byteLength
  for (const [i, entry] of sorted.entries()) {
    const { name, dtype, shape } = entry
    if (tensors.has(name)) throw new RangeError(`Cannot plan a safetensors file: tensor "${name}" is given twice`)
    tensors.set(name, { name, dtype, shape: [...shape], offset, byteLength: sizes[i]! })
    offset += sizes[i]!
  }
  return { head, tensors, byteLength: offset }
}

function byteLengthOf(entry: TensorEntry): number {
  const { name, dtype, shape } = entry
  assertText(name, 'tensor name')
  if (name === '__metadata__') throw new RangeError('Cannot plan a safetensors file: no tensor may be __metadata__')
  const byteLength = elementCount(shape) * DTYPE_BYTES[dtype]
  if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0) || !Number.isSafeInteger(byteLength))
    throw new RangeError(`Cannot plan a safetensors file: tensor "${name}" has shape [${shape.join(', ')}]`)
  return byteLength
}

/** The header's text is joined by hand: in an object, a tensor named `__proto__` or `1` would be lost or moved. */
function encodeHead(
  entries: readonly TensorEntry[],
  sizes: readonly number[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const parts: string[] = []
  const keys = Object.keys(metadata).sort()
  if (keys.length > 0) parts.push(`"__metadata__":{${keys.map((key) => metadataPair(key, metadata[key]!)).join(',')}}`)
  let begin = 0
  for (const [i, { name, dtype, shape }] of entries.entries()) {
    const end = begin + sizes[i]!
    parts.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${begin},${end}]}`,
    )
    begin = end
  }
  const json = new TextEncoder().encode(`{${parts.join(',')}}`)
  const headBytes = Math.ceil((8 + json.byteLength) / DATA_ALIGNMENT) * DATA_ALIGNMENT
  if (headBytes - 8 > MAX_HEADER_BYTES)
    throw new RangeError(
      `Cannot plan a safetensors file: the header takes ${headBytes - 8} bytes, at most ${MAX_HEADER_BYTES}`,
    )
  const head = new Uint8Array(headBytes).fill(0x20)
  new DataView(head.buffer).setBigUint64(0, BigInt(headBytes - 8), true)
  head.set(json, 8)
  return head
}

function metadataPair(key: string, value: string): string {
  assertText(key, 'metadata key')
  assertText(value, `metadata of ${key}`)
  return `${JSON.stringify(key)}:${JSON.stringify(value)}`
}

/** UTF-8 cannot hold half a surrogate pair: it would be written as something else. */
function assertText(text: string, what: string): void {
  if (/\p{Surrogate}/u.test(text))
    throw new RangeError(`Cannot plan a safetensors file: ${what} ${JSON.stringify(text)} has a lone surrogate`)
}
