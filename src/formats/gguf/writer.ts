import { ShapeError } from '../../errors.ts'
import { createPartialFile } from '../bytes.ts'
import { Growing } from './growing.ts'
import type { KindName } from './kinds.ts'
import { kindNamed } from './kinds.ts'

/** A metadata value with its type in the file. */
export type GgufValue =
  | { readonly type: 'u32' | 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'i32s' | 'f32s'; readonly value: readonly number[] }

/** A tensor to be written; the shape is row-major, slowest first: a matrix is (out, in). */
export type GgufEntry = { readonly name: string; readonly kind: KindName; readonly shape: readonly number[] }

/** A GGUF file being written, tensor by tensor or in pieces of tensors; nothing is kept in memory. */
export type GgufWriter = {
  /** Appends a piece to the tensor `name`. Throws ShapeError when it would pass the tensor's end. */
  write(name: string, chunk: Uint8Array): void
  /** Makes the file durable and gives it its name; returns its bytes. Throws ShapeError when a tensor lacks bytes. */
  finish(): number
  /** Removes what was written; does nothing after finish(). */
  abort(): void
}

const VERSION = 3
/** Where data and every tensor begin: the default of the format. */
const ALIGNMENT = 32
const MAX_DIMS = 4 // of ggml

/** Numbers of the value types (ggml docs/gguf.md). */
const TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const

/**
 * Starts `${path}.partial` with the header of a GGUF file (version 3, little-endian; ggml docs/gguf.md); finish() gives it
 * its name. Tensors lie in the order of `entries`. Throws ShapeError for rows that are no whole blocks of their kind.
 */
export function createGgufWriter(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  entries: readonly GgufEntry[],
): GgufWriter {
  const placed = placedTensors(entries)
  const head = headerOf(metadata, placed)
  const dataStart = aligned(head.byteLength)
  const file = createPartialFile(path)
  const byName = new Map(placed.map((tensor) => [tensor.name, { ...tensor, done: 0 }]))
  const endOf = placed.reduce((end, { offset, byteLength }) => Math.max(end, offset + byteLength), 0)
  const totalBytes = dataStart + aligned(endOf)
  // Bytes between tensors stay the zeros that the file system gives to what was never written.
  const begin = (): void => {
    file.write(head, 0)
    if (totalBytes > head.byteLength) file.write(new Uint8Array(1), totalBytes - 1)
  }
  try {
    begin()
  } catch (error) {
    file.abort()
    throw error
  }
  return {
    write(name, chunk) {
      const tensor = byName.get(name)
      if (!tensor) throw new RangeError(`Cannot write tensor "${name}" to ${path}: it was not announced`)
      if (tensor.done + chunk.byteLength > tensor.byteLength)
        throw new ShapeError(
          `Cannot write tensor "${name}" to ${path}: got ${tensor.done + chunk.byteLength} bytes, ` +
            `${tensor.kind} [${tensor.shape.join(', ')}] takes ${tensor.byteLength}`,
        )
      file.write(chunk, dataStart + tensor.offset + tensor.done)
      tensor.done += chunk.byteLength
    },
    finish() {
      for (const { name, byteLength, done } of byName.values())
        if (done !== byteLength)
          throw new ShapeError(`Cannot finish ${path}: tensor "${name}" got ${done} of ${byteLength} bytes`)
      file.finish()
      return totalBytes
    },
    abort: () => file.abort(),
  }
}

type Placed = GgufEntry & { readonly offset: number; readonly byteLength: number }

/** Bytes that a tensor takes. Throws ShapeError for rows that are no whole blocks. */
function ggufBytes({ name, kind, shape }: GgufEntry): number {
  const { elements, bytes } = kindNamed(kind)
  const cols = shape.at(-1) ?? 0
  if (shape.length < 1 || shape.length > MAX_DIMS || cols % elements !== 0)
    throw new ShapeError(
      `Cannot store tensor "${name}" [${shape.join(', ')}] as ${kind}: wanted 1 to ${MAX_DIMS} dimensions, ` +
        `rows a multiple of ${elements} numbers long`,
    )
  return (shape.reduce((n, dim) => n * dim, 1) / elements) * bytes
}

function placedTensors(entries: readonly GgufEntry[]): Placed[] {
  let offset = 0
  return entries.map((entry) => {
    const placed = { ...entry, offset, byteLength: ggufBytes(entry) }
    offset = aligned(offset + placed.byteLength)
    return placed
  })
}

function headerOf(metadata: ReadonlyMap<string, GgufValue>, tensors: readonly Placed[]): Uint8Array {
  const out = new Growing()
  out.text('GGUF')
  out.u32(VERSION)
  out.u64(tensors.length)
  out.u64(metadata.size)
  for (const [key, value] of metadata) {
    out.string(key)
    writeValue(out, value)
  }
  for (const { name, kind, shape, offset } of tensors) {
    out.string(name)
    out.u32(shape.length)
    for (const dim of shape.toReversed()) out.u64(dim)
    out.u32(kindNamed(kind).id)
    out.u64(offset)
  }
  return out.bytes()
}

function writeValue(out: Growing, value: GgufValue): void {
  switch (value.type) {
    case 'u32':
      out.u32(TYPES.u32)
      return out.u32(value.value)
    case 'f32':
      out.u32(TYPES.f32)
      return out.f32(value.value)
    case 'bool':
      out.u32(TYPES.bool)
      return out.u8(Number(value.value))
    case 'string':
      out.u32(TYPES.string)
      return out.string(value.value)
    case 'strings':
      return writeArray(out, TYPES.string, value.value, (item) => out.string(item))
    case 'i32s':
      return writeArray(out, TYPES.i32, value.value, (item) => out.i32(item))
    case 'f32s':
      return writeArray(out, TYPES.f32, value.value, (item) => out.f32(item))
  }
}

function writeArray<T>(out: Growing, itemType: number, items: readonly T[], write: (item: T) => void): void {
  out.u32(TYPES.array)
  out.u32(itemType)
  out.u64(items.length)
  for (const item of items) write(item)
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT
}
