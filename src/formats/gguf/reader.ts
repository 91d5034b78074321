import { FormatError } from '../../errors.ts'
import { closeFile, openForReading, readRange } from '../bytes.ts'
import type { GgufTensor } from './header.ts'
import { readGgufHeader } from './header.ts'
import type { Metadata } from './metadata.ts'

/** A GGUF file: metadata in memory, tensors read in ranges of rows when asked for. */
export type GgufFile = {
  readonly path: string
  readonly metadata: Metadata
  readonly tensors: ReadonlyMap<string, GgufTensor>
  /** Throws FormatError when there is no such tensor. */
  get(name: string): GgufTensor
  /** Stored bytes of rows [start, end) (all by default); a vector is one row. Throws RangeError outside the tensor. */
  readRows(name: string, start?: number, end?: number): Uint8Array<ArrayBuffer>
  /** The same rows as float32, exactly what the blocks say. */
  readRowsF32(name: string, start?: number, end?: number): Float32Array<ArrayBuffer>
  close(): void
}

/** Rows of a tensor, and the numbers in one. */
export function rowsOf({ shape }: Pick<GgufTensor, 'shape'>): { readonly rows: number; readonly cols: number } {
  return { rows: shape.slice(0, -1).reduce((n, dim) => n * dim, 1), cols: shape.at(-1)! }
}

/** Opens a GGUF file and reads its header only. Throws as readGgufHeader does. */
export function openGguf(path: string): GgufFile {
  const file = openForReading(path)
  try {
    const { metadata, tensors } = readGgufHeader(file)
    const get = (name: string): GgufTensor => {
      const tensor = tensors.get(name)
      if (!tensor) throw new FormatError(`Cannot read ${path}: there is no tensor "${name}"`)
      return tensor
    }
    const readRows = (name: string, start?: number, end?: number): Uint8Array<ArrayBuffer> => {
      const tensor = get(name)
      const { first, count, rowBytes } = rangeOf(tensor, start, end)
      return readRange(file, tensor.offset + first * rowBytes, count * rowBytes)
    }
    return {
      path,
      metadata,
      tensors,
      get,
      readRows,
      readRowsF32(name, start, end) {
        const { kind } = get(name)
        const bytes = readRows(name, start, end)
        const blocks = bytes.byteLength / kind.bytes
        const out = new Float32Array(blocks * kind.elements)
        kind.decode(bytes, 0, blocks, out, 0)
        return out
      },
      close: () => closeFile(file),
    }
  } catch (error) {
    closeFile(file)
    throw error
  }
}

function rangeOf(tensor: GgufTensor, start = 0, end?: number): { first: number; count: number; rowBytes: number } {
  const { rows, cols } = rowsOf(tensor)
  const last = end ?? rows
  if (!(start >= 0 && start <= last && last <= rows))
    throw new RangeError(`Cannot read rows ${start} to ${last} of tensor "${tensor.name}": it has ${rows}`)
  return { first: start, count: last - start, rowBytes: (cols / tensor.kind.elements) * tensor.kind.bytes }
}
