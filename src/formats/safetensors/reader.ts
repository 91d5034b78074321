import { FormatError, UnsupportedError } from '../../errors.ts'
import { fromBf16, fromF16 } from '../../tensor/half.ts'
import { DTYPE_BYTES } from '../../tensor/dtype.ts'
import type { DType, RawTensor } from '../../tensor/dtype.ts'
import { allocate, closeFile, openForReading, readInto, readRange } from '../bytes.ts'
import type { OpenFile } from '../bytes.ts'
import { MAX_HEADER_BYTES, isReadable, parseHeader } from './header.ts'
import type { ForeignDType, Header } from './header.ts'

/** Where a tensor lies: `byteLength` bytes at byte `offset` of `file`. */
export type TensorInfo = {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Path of the file. */
  readonly file: string
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly byteLength: number
}

/** A tensor of a type that the format knows and this project does not read, such as F8_E4M3. */
export type ForeignTensor = {
  readonly name: string
  readonly dtype: ForeignDType
  readonly shape: readonly number[]
  readonly byteLength: number
}

/** Tensors by name, in one file or many; bytes are read when asked for. */
export type TensorStore = {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** Tensors that are there but cannot be read here; asking for one throws UnsupportedError. */
  readonly foreign: ReadonlyMap<string, ForeignTensor>
  readonly metadata: ReadonlyMap<string, string>
  /** Throws FormatError when there is no such tensor, UnsupportedError when its type is not read here. */
  get(name: string): TensorInfo
  /**
   * Bytes [start, end) of the tensor (all by default), little-endian and row-major, in a buffer of their own, so that
   * any typed array can be laid over it. Throws RangeError when the range is not inside the tensor.
   */
  readBytes(name: string, start?: number, end?: number): Uint8Array<ArrayBuffer>
  /** The tensor as float32. Throws UnsupportedError unless it is F32, F16, BF16 (exact) or F64 (rounded). */
  readF32(name: string): Float32Array<ArrayBuffer>
  close(): void
}

/** One .safetensors file. */
export type TensorFile = TensorStore & { readonly path: string; readonly byteLength: number }

/** Elements widened at a time by readF32: 1 MiB of float16 beside the result. */
const WIDEN_ELEMENTS = 1 << 19

/**
 * Opens a safetensors file and reads its header only. Throws FormatError when the header is not what the format asks
 * for, or does not fit the length of the file.
 */
export function openSafetensors(path: string): TensorFile {
  const file = openForReading(path)
  try {
    const { header, dataStart } = readHeader(file)
    return tensorFile(file, header, dataStart)
  } catch (error) {
    closeFile(file)
    throw error
  }
}

/** The whole of a small file in memory. Throws as openSafetensors and readBytes do. */
export function readSafetensors(path: string): {
  tensors: Map<string, RawTensor>
  metadata: Map<string, string>
} {
  const file = openSafetensors(path)
  try {
    const names = [...file.tensors.keys(), ...file.foreign.keys()]
    const tensors = new Map<string, RawTensor>()
    for (const name of names) {
      const { dtype, shape } = file.get(name)
      tensors.set(name, { dtype, shape, bytes: file.readBytes(name) })
    }
    return { tensors, metadata: new Map(file.metadata) }
  } finally {
    file.close()
  }
}

function readHeader(file: OpenFile): { header: Header; dataStart: number } {
  if (file.byteLength < 8)
    throw new FormatError(`Cannot read ${file.path}: it has ${file.byteLength} bytes, a safetensors file at least 10`)
  const length = new DataView(readRange(file, 0, 8).buffer).getBigUint64(0, true)
  if (length > BigInt(MAX_HEADER_BYTES))
    throw new FormatError(
      `Cannot read ${file.path}: the header length is ${length}, at most ${MAX_HEADER_BYTES} are allowed: ` +
        'this is no safetensors file, or a damaged one',
    )
  if (length > BigInt(file.byteLength - 8))
    throw new FormatError(
      `Cannot read ${file.path}: the header length is ${length}, the file has ${file.byteLength - 8} bytes after it: ` +
        'it is cut short',
    )
  const dataStart = 8 + Number(length)
  const bytes = readRange(file, 8, Number(length))
  return { header: parseHeader(bytes, file.byteLength - dataStart, file.path), dataStart }
}

function tensorFile(file: OpenFile, header: Header, dataStart: number): TensorFile {
  const tensors = new Map<string, TensorInfo>()
  const foreign = new Map<string, ForeignTensor>()
  for (const { name, dtype, shape, begin, end } of header.entries) {
    const byteLength = end - begin
    if (isReadable(dtype))
      tensors.set(name, { name, dtype, shape, file: file.path, offset: dataStart + begin, byteLength })
    else foreign.set(name, { name, dtype, shape, byteLength })
  }
  const get = (name: string): TensorInfo => findTensor(name, tensors, foreign, file.path)
  let open = true
  // A closed descriptor's number is soon another file's: reading on would give that file's bytes.
  const opened = (): OpenFile => {
    if (!open) throw new Error(`Cannot read ${file.path}: it was closed`)
    return file
  }
  return {
    path: file.path,
    byteLength: file.byteLength,
    tensors,
    foreign,
    metadata: header.metadata,
    get,
    readBytes: (name, start, end) => readTensorBytes(opened(), get(name), start, end),
    readF32: (name) => readFloats(opened(), get(name)),
    close() {
      if (open) closeFile(file)
      open = false
    },
  }
}

/** The tensor called `name`. Throws UnsupportedError for one of a type not read here, FormatError for none at all. */
export function findTensor(
  name: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  foreign: ReadonlyMap<string, ForeignTensor>,
  where: string,
): TensorInfo {
  const info = tensors.get(name)
  if (info) return info
  const other = foreign.get(name)
  if (other)
    throw new UnsupportedError(
      `Cannot read tensor "${name}" of ${where}: its dtype ${other.dtype} is not supported, ` +
        `expected one of ${Object.keys(DTYPE_BYTES).join(', ')}: convert the model to BF16 or F16 first`,
    )
  throw new FormatError(`Cannot find tensor "${name}" in ${where}, which has ${tensors.size + foreign.size} tensors`)
}

function readTensorBytes(file: OpenFile, info: TensorInfo, start = 0, end = info.byteLength): Uint8Array<ArrayBuffer> {
  if (!(start >= 0 && start <= end && end <= info.byteLength))
    throw new RangeError(`Cannot read bytes ${start} to ${end} of "${info.name}", which has ${info.byteLength}`)
  return readRange(file, info.offset + start, end - start)
}

function readFloats(file: OpenFile, info: TensorInfo): Float32Array<ArrayBuffer> {
  const { dtype } = info
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16' && dtype !== 'F64')
    throw new UnsupportedError(
      `Cannot read tensor "${info.name}" of ${file.path} as float32: its dtype is ${dtype}, expected F32, F16, BF16 or F64`,
    )
  const length = info.byteLength / DTYPE_BYTES[dtype]
  const out = new Float32Array(allocate(length * 4, `tensor "${info.name}"`).buffer)
  if (dtype === 'F32') readInto(file, info.offset, new Uint8Array(out.buffer))
  else readWidened(file, info.offset, dtype, out)
  return out
}

/** Reads and converts piece by piece, so that the source bytes never lie beside the whole result. */
function readWidened(file: OpenFile, offset: number, dtype: 'F16' | 'BF16' | 'F64', out: Float32Array): void {
  const size = DTYPE_BYTES[dtype]
  const buffer = new ArrayBuffer(Math.min(out.length, WIDEN_ELEMENTS) * size)
  for (let i = 0; i < out.length; i += WIDEN_ELEMENTS) {
    const target = out.subarray(i, i + WIDEN_ELEMENTS)
    readInto(file, offset + i * size, new Uint8Array(buffer, 0, target.length * size))
    if (dtype === 'F16') fromF16(new Uint16Array(buffer, 0, target.length), target)
    else if (dtype === 'BF16') fromBf16(new Uint16Array(buffer, 0, target.length), target)
    else target.set(new Float64Array(buffer, 0, target.length))
  }
}
