import { FormatError, ShapeError, UnsupportedError } from '../../errors.ts'
import { elementCount } from '../../tensor/dtype.ts'
import { isInsideFolder } from '../paths.ts'
import { toNumber } from './integers.ts'
import { has } from './schema.ts'
import type { Wide, Wire } from './schema.ts'
import { TENSOR_TYPE } from './types.ts'
import type { TensorProto, TensorTypeName } from './types.ts'

/** Bits of one element; strings have no fixed size. */
export const TENSOR_TYPE_BITS: Readonly<Record<Exclude<TensorTypeName, 'string'>, number>> = {
  float: 32,
  uint8: 8,
  int8: 8,
  uint16: 16,
  int16: 16,
  int32: 32,
  int64: 64,
  bool: 8,
  float16: 16,
  double: 64,
  uint32: 32,
  uint64: 64,
  bfloat16: 16,
  uint4: 4,
  int4: 4,
}

const TYPE_NAMES = new Map(
  Object.entries(TENSOR_TYPE).map(([name, number]) => [number as number, name as TensorTypeName]),
)

/** TensorProto.DataLocation. */
const EXTERNAL = 1

/** Bytes of a tensor; elements of 4 bits are packed in pairs. Throws UnsupportedError for strings. */
export function tensorByteLength(type: TensorTypeName, dims: readonly number[]): number {
  if (type === 'string') throw new UnsupportedError('Cannot give the size of a string tensor: expected numbers')
  return Math.ceil((elementCount(dims) * TENSOR_TYPE_BITS[type]) / 8)
}

/** The name of a TensorProto.DataType number. Throws UnsupportedError for one that is not read here. */
export function typeName(number: number, where: string): TensorTypeName {
  const name = TYPE_NAMES.get(number)
  if (!name)
    throw new UnsupportedError(
      `${where} has element type ${number}, expected one of ${Object.keys(TENSOR_TYPE).join(', ')}`,
    )
  return name
}

/**
 * A tensor for the wire. Throws ShapeError when its bytes do not fit its dims, FormatError when its external location
 * leaves the model's folder.
 */
export function encodeTensor(tensor: TensorProto): Wire<'TensorProto'> {
  const { name, type, dims, rawData, external } = tensor
  const where = `Cannot encode tensor "${name}"`
  const wire = { name, dims, dataType: TENSOR_TYPE[type] }
  const byteLength = tensorByteLength(type, dims)
  const got = external?.length ?? rawData?.byteLength ?? 0
  if (got !== byteLength)
    throw new ShapeError(`${where}: got ${got} bytes, ${type} [${dims.join(', ')}] takes ${byteLength}`)
  if (!external) return { ...wire, rawData: rawData ?? new Uint8Array(0) }
  assertLocation(external.location, where)
  return {
    ...wire,
    dataLocation: EXTERNAL,
    externalData: [
      { key: 'location', value: external.location },
      { key: 'offset', value: String(external.offset) },
      { key: 'length', value: String(external.length) },
    ],
  }
}

/**
 * A tensor from the wire; whatever field its elements were in, they come out as rawData. Throws FormatError when they do
 * not fit its dims, UnsupportedError for element types that are not read here.
 */
export function decodeTensor(wire: Wire<'TensorProto'>, file: string): TensorProto {
  const name = wire.name ?? ''
  const where = `Cannot read ${file}: tensor "${name}"`
  const type = typeName(wire.dataType ?? 0, where)
  if (type === 'string') throw new UnsupportedError(`${where} holds strings, expected numbers`)
  const dims = (wire.dims ?? []).map((dim) => toNumber(dim, `${where}: a dimension`))
  const byteLength = tensorByteLength(type, dims)
  if (!Number.isSafeInteger(byteLength) || dims.some((dim) => dim < 0))
    throw new FormatError(`${where} has dims [${dims.join(', ')}], expected sizes`)
  if (wire.dataLocation === EXTERNAL) return { name, type, dims, external: decodeExternal(wire, byteLength, where) }
  const rawData = has(wire, 'rawData') ? new Uint8Array(wire.rawData!) : typedData(wire, type)
  if (rawData.byteLength !== byteLength)
    throw new FormatError(
      `${where} holds ${rawData.byteLength} bytes, ${type} [${dims.join(', ')}] takes ${byteLength}`,
    )
  return { name, type, dims, rawData }
}

function decodeExternal(
  wire: Wire<'TensorProto'>,
  byteLength: number,
  where: string,
): NonNullable<TensorProto['external']> {
  const entries = new Map((wire.externalData ?? []).map(({ key, value }) => [key ?? '', value ?? '']))
  const location = entries.get('location') ?? ''
  assertLocation(location, where)
  const offset = decimal(entries.get('offset') ?? '0', `${where}: external offset`)
  const length = decimal(entries.get('length') ?? String(byteLength), `${where}: external length`)
  if (length !== byteLength)
    throw new FormatError(`${where} has external length ${length}, its dims and type take ${byteLength} bytes`)
  return { location, offset, length }
}

function assertLocation(location: string, where: string): void {
  if (!isInsideFolder(location))
    throw new FormatError(
      `${where} has external location ${JSON.stringify(location)}, expected a file inside the model's folder`,
    )
}

function decimal(text: string, where: string): number {
  const value = Number(text)
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(value))
    throw new FormatError(`${where} is ${JSON.stringify(text)}, expected a count of bytes`)
  return value
}

/** Elements of the typed fields as little-endian bytes (which field holds which type: comments of onnx.proto). */
function typedData(wire: Wire<'TensorProto'>, type: Exclude<TensorTypeName, 'string'>): Uint8Array<ArrayBuffer> {
  switch (type) {
    case 'float':
      return bytesOf(Float32Array.from(wire.floatData ?? []))
    case 'double':
      return bytesOf(Float64Array.from(wire.doubleData ?? []))
    case 'int32':
      return bytesOf(Int32Array.from(wire.int32Data ?? []))
    case 'int16':
    case 'uint16':
    case 'float16':
    case 'bfloat16':
      return bytesOf(Uint16Array.from(wire.int32Data ?? []))
    case 'int8':
    case 'uint8':
    case 'bool':
    case 'int4':
    case 'uint4':
      // Two 4-bit elements share one entry, as they share one byte.
      return Uint8Array.from(wire.int32Data ?? [])
    case 'int64':
      return bytesOf(wideData(wire.int64Data ?? []))
    case 'uint64':
      return bytesOf(wideData(wire.uint64Data ?? []))
    case 'uint32':
      return bytesOf(
        Uint32Array.from(wire.uint64Data ?? [], (value) => (typeof value === 'number' ? value : value.low)),
      )
  }
}

function wideData(values: readonly (number | Wide)[]): BigInt64Array<ArrayBuffer> {
  return BigInt64Array.from(values, (value) =>
    typeof value === 'number' ? BigInt(value) : (BigInt(value.high) << 32n) | BigInt(value.low >>> 0),
  )
}

function bytesOf(array: { readonly buffer: ArrayBuffer }): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer)
}
