import type { GgufTensor } from '../formats/gguf/header.ts'
import type { GgufFile } from '../formats/gguf/reader.ts'
import { rowsOf } from '../formats/gguf/reader.ts'
import type { TensorEntry } from '../formats/safetensors/plan.ts'
import { createSafetensorsWriter } from '../formats/safetensors/writer.ts'
import { ShapeError } from '../errors.ts'
import { transposeInto } from '../tensor/mat.ts'
import type { Architecture, Place } from './gguf-architectures.ts'
import { placeOf } from './gguf-architectures.ts'

/** float32 bytes of one piece: a matrix is decoded in ranges of rows, never as a whole (unless it is transposed). */
const PIECE_BYTES = 8 << 20

export type TensorListener = (done: number, total: number) => void | Promise<void>

export type HeadCounts = { readonly heads: number; readonly kvHeads: number }

/**
 * Writes every tensor of a GGUF file as safetensors under its Hugging Face name, with what the converter had changed
 * undone. Float kinds keep their type, quantised ones become the float32 numbers that their blocks stand for. `onTensor`
 * hears the number of tensors done; it is awaited, and may throw to stop.
 */
export async function writeWeights(
  file: GgufFile,
  architecture: Architecture,
  counts: HeadCounts,
  path: string,
  onTensor: TensorListener = () => {},
): Promise<void> {
  const jobs = [...file.tensors.values()].flatMap((tensor) => {
    const place = placeOf(tensor.name, architecture, file.path)
    return place ? [{ tensor, place: leftAlone(tensor, place) }] : []
  })
  const writer = createSafetensorsWriter(path, jobs.map(entryOf), { format: 'pt' })
  try {
    for (const [done, { tensor, place }] of jobs.entries()) {
      await onTensor(done, jobs.length)
      for (const bytes of piecesOf(file, tensor, place, counts)) writer.write(place.name, bytes)
    }
    writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
}

type Job = { readonly tensor: GgufTensor; readonly place: Place }

/** Vectors are not transposed. */
function leftAlone({ shape }: GgufTensor, place: Place): Place {
  return place.change === 'transposed' && shape.length === 1 ? { name: place.name } : place
}

function entryOf({ tensor, place }: Job): TensorEntry {
  const shape = place.change === 'transposed' ? tensor.shape.toReversed() : tensor.shape
  return { name: place.name, dtype: asFloats(tensor, place) ? 'F32' : tensor.kind.float!, shape }
}

/** Whether the numbers have to be decoded: quantised, or about to be changed. */
function asFloats({ kind }: GgufTensor, { change }: Place): boolean {
  return kind.float === undefined || change === 'plus-one' || change === 'transposed'
}

/** The bytes of a tensor in order, in pieces. */
function* piecesOf(file: GgufFile, tensor: GgufTensor, place: Place, counts: HeadCounts): Generator<Uint8Array> {
  const { rows, cols } = rowsOf(tensor)
  if (place.change === 'transposed') {
    const out = new Float32Array(rows * cols)
    transposeInto(file.readRowsF32(tensor.name), rows, cols, out)
    yield bytesOf(out)
    return
  }
  const read = (start: number, end: number): Uint8Array =>
    asFloats(tensor, place)
      ? bytesOf(file.readRowsF32(tensor.name, start, end))
      : file.readRows(tensor.name, start, end)
  const from = rowOrder(tensor, place, counts)
  if (from && tensor.shape.length === 1) {
    yield reordered(read(0, 1), cols, from)
    return
  }
  const step = Math.max(1, Math.floor(PIECE_BYTES / (4 * cols)))
  for (let start = 0; start < rows; start += step) {
    const end = Math.min(rows, start + step)
    if (from) for (let row = start; row < end; row++) yield read(from(row), from(row) + 1)
    else yield place.change === 'plus-one' ? minusOne(read(start, end)) : read(start, end)
  }
}

/** Which row of the file is row `row` of the model; undefined where the order is the same. */
function rowOrder(tensor: GgufTensor, { change }: Place, counts: HeadCounts): ((row: number) => number) | undefined {
  const n = tensor.shape[0]!
  if (change === 'query-pairs') return unpaired(tensor, n, counts.heads)
  if (change === 'key-pairs') return unpaired(tensor, n, counts.kvHeads)
  if (change !== 'qkv-by-kind') return undefined
  const d = headSize(tensor, n, 3 * counts.heads)
  // (kind, head, d) in the file, (head, kind, d) in the model.
  return (row) => {
    const head = Math.floor(row / (3 * d))
    const kind = Math.floor(row / d) % 3
    return (kind * counts.heads + head) * d + (row % d)
  }
}

/** (head, d/2, 2) in the file, (head, 2, d/2) in the model. */
function unpaired(tensor: GgufTensor, n: number, heads: number): (row: number) => number {
  const d = headSize(tensor, n, heads)
  const half = d / 2
  return (row) => {
    const i = row % d
    return row - i + (i % half) * 2 + Math.floor(i / half)
  }
}

function headSize(tensor: GgufTensor, n: number, heads: number): number {
  const d = n / heads
  if (Number.isInteger(d) && d % 2 === 0) return d
  throw new ShapeError(`Cannot use tensor "${tensor.name}": ${n} rows are not ${heads} heads of an even size`)
}

function reordered(bytes: Uint8Array, n: number, from: (i: number) => number): Uint8Array {
  const size = bytes.byteLength / n
  const out = new Uint8Array(bytes.byteLength)
  for (let i = 0; i < n; i++) out.set(bytes.subarray(from(i) * size, (from(i) + 1) * size), i * size)
  return out
}

/** Norms of the Gemma kinds multiply by 1 + w, and the file has the sum. */
function minusOne(bytes: Uint8Array): Uint8Array {
  const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  return bytesOf(numbers.map((w) => w - 1))
}

function bytesOf(numbers: Float32Array): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
}
