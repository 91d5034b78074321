import protobuf from 'protobufjs/light.js'

/** [field number, type]; a type in brackets is repeated, one in double brackets repeated and packed. */
type Field = readonly [number, string | readonly [string] | readonly [readonly [string]]]

/**
 * The messages and fields of onnx.proto (ONNX 1.23, package onnx) that are read or written here, in camelCase. Enums
 * are plain int32 on the wire. Fields not listed are skipped on reading.
 */
const MESSAGES = {
  ModelProto: {
    irVersion: [1, 'int64'],
    producerName: [2, 'string'],
    producerVersion: [3, 'string'],
    domain: [4, 'string'],
    modelVersion: [5, 'int64'],
    docString: [6, 'string'],
    graph: [7, 'GraphProto'],
    opsetImport: [8, ['OperatorSetIdProto']],
    metadataProps: [14, ['StringStringEntryProto']],
    functions: [25, ['FunctionProto']],
  },
  OperatorSetIdProto: { domain: [1, 'string'], version: [2, 'int64'] },
  StringStringEntryProto: { key: [1, 'string'], value: [2, 'string'] },
  GraphProto: {
    node: [1, ['NodeProto']],
    name: [2, 'string'],
    initializer: [5, ['TensorProto']],
    docString: [10, 'string'],
    input: [11, ['ValueInfoProto']],
    output: [12, ['ValueInfoProto']],
    valueInfo: [13, ['ValueInfoProto']],
    sparseInitializer: [15, ['bytes']],
    metadataProps: [16, ['StringStringEntryProto']],
  },
  FunctionProto: {
    name: [1, 'string'],
    input: [4, ['string']],
    output: [5, ['string']],
    attribute: [6, ['string']],
    node: [7, ['NodeProto']],
    docString: [8, 'string'],
    opsetImport: [9, ['OperatorSetIdProto']],
    domain: [10, 'string'],
    attributeProto: [11, ['AttributeProto']],
    valueInfo: [12, ['ValueInfoProto']],
    overload: [13, 'string'],
    metadataProps: [14, ['StringStringEntryProto']],
  },
  NodeProto: {
    input: [1, ['string']],
    output: [2, ['string']],
    name: [3, 'string'],
    opType: [4, 'string'],
    attribute: [5, ['AttributeProto']],
    docString: [6, 'string'],
    domain: [7, 'string'],
    overload: [8, 'string'],
    metadataProps: [9, ['StringStringEntryProto']],
  },
  AttributeProto: {
    name: [1, 'string'],
    f: [2, 'float'],
    i: [3, 'int64'],
    s: [4, 'bytes'],
    t: [5, 'TensorProto'],
    g: [6, 'GraphProto'],
    floats: [7, ['float']],
    ints: [8, ['int64']],
    strings: [9, ['bytes']],
    type: [20, 'int32'],
    refAttrName: [21, 'string'],
  },
  TensorProto: {
    dims: [1, ['int64']],
    dataType: [2, 'int32'],
    floatData: [4, [['float']]],
    int32Data: [5, [['int32']]],
    stringData: [6, ['bytes']],
    int64Data: [7, [['int64']]],
    name: [8, 'string'],
    rawData: [9, 'bytes'],
    doubleData: [10, [['double']]],
    uint64Data: [11, [['uint64']]],
    externalData: [13, ['StringStringEntryProto']],
    dataLocation: [14, 'int32'],
  },
  ValueInfoProto: { name: [1, 'string'], type: [2, 'TypeProto'] },
  TypeProto: {
    tensorType: [1, 'TypeProtoTensor'],
    sequenceType: [4, 'TypeProtoSequence'],
    mapType: [5, 'bytes'],
    opaqueType: [7, 'bytes'],
    sparseTensorType: [8, 'bytes'],
    optionalType: [9, 'bytes'],
  },
  TypeProtoSequence: { elemType: [1, 'TypeProto'] },
  TypeProtoTensor: { elemType: [1, 'int32'], shape: [2, 'TensorShapeProto'] },
  TensorShapeProto: { dim: [1, ['Dimension']] },
  Dimension: { dimValue: [1, 'int64'], dimParam: [2, 'string'] },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Field>>>>

type Messages = typeof MESSAGES
export type MessageName = keyof Messages

/** A 64-bit integer as protobufjs gives it; a plain number is taken on writing. */
export type Wide = { readonly low: number; readonly high: number; readonly unsigned: boolean }

type Scalars = {
  string: string
  bytes: Uint8Array
  float: number
  double: number
  int32: number
  int64: number | Wide
  uint64: number | Wide
}
type ValueOf<T> = T extends keyof Scalars ? Scalars[T] : T extends MessageName ? Wire<T> : never
type TypeOfField<T> = T extends readonly [readonly [infer U]]
  ? readonly ValueOf<U>[]
  : T extends readonly [infer U]
    ? readonly ValueOf<U>[]
    : ValueOf<T>

/** A message as it is on the wire: any field may be absent. */
export type Wire<M extends MessageName> = {
  readonly [F in keyof Messages[M]]?:
    | (Messages[M][F] extends readonly [number, infer T] ? TypeOfField<T> : never)
    | undefined
}

const root = protobuf.Root.fromJSON({ nested: descriptors() }).resolveAll()
const ModelProto = root.lookupType('ModelProto')

/** Fields in the order of their numbers, so that equal messages give equal bytes. */
export function encodeWire(model: Wire<'ModelProto'>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(ModelProto.encode(model).finish())
}

/** Throws whatever protobufjs throws on bytes that are no such message; byte fields are views of `bytes`. */
export function decodeWire(bytes: Uint8Array): Wire<'ModelProto'> {
  return ModelProto.decode(bytes) as Wire<'ModelProto'>
}

/** Whether the field is in the message: reading an absent one gives its default. */
export function has<M extends object>(message: M, field: keyof M): boolean {
  return Object.hasOwn(message, field)
}

function descriptors(): Record<string, protobuf.IType> {
  return Object.fromEntries(
    Object.entries(MESSAGES).map(([name, fields]) => [
      name,
      {
        // proto2, as onnx.proto says: the ONNX checker wants to see fields that hold 0 or ''.
        edition: 'proto2',
        options: { features: { utf8_validation: 'VERIFY' } },
        fields: Object.fromEntries(Object.entries(fields).map(([field, [id, type]]) => [field, descriptor(id, type)])),
      },
    ]),
  )
}

function descriptor(id: number, type: Field[1]): protobuf.IField {
  if (typeof type === 'string') return { id, type }
  const [item] = type
  if (typeof item === 'string') return { id, type: item, rule: 'repeated' } as protobuf.IField
  return { id, type: item[0], rule: 'repeated', options: { packed: true } } as protobuf.IField
}
