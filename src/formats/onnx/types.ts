/** The ONNX messages this project reads and writes, as plain objects (field names of onnx.proto in camelCase). */
export type Model = {
  irVersion: number
  producerName: string
  producerVersion: string
  domain?: string
  modelVersion?: number
  docString?: string
  opsetImport: OpsetId[]
  graph: Graph
  functions: FunctionDef[]
  metadataProps: StringEntry[]
}
export type OpsetId = { domain: string; version: number }
export type StringEntry = { key: string; value: string }
export type Graph = {
  name: string
  docString?: string
  node: Node[]
  initializer: TensorProto[]
  input: ValueInfo[]
  output: ValueInfo[]
  valueInfo: ValueInfo[]
  metadataProps?: StringEntry[]
}
export type FunctionDef = {
  name: string
  domain: string
  overload?: string
  input: string[]
  output: string[]
  /** Names of the attributes that every call gives. */
  attribute: string[]
  /** Attributes with a default (attribute_proto). */
  attributeDefaults?: Attribute[]
  node: Node[]
  opsetImport: OpsetId[]
  docString?: string
  valueInfo?: ValueInfo[]
  metadataProps?: StringEntry[]
}
export type Node = {
  name: string
  opType: string
  domain: string
  overload?: string
  input: string[]
  output: string[]
  attribute: Attribute[]
  docString?: string
  metadataProps?: StringEntry[]
}
/** AttributeProto.AttributeType numbers of the kinds that have a form here. */
export const ATTRIBUTE_TYPE = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
} as const
export type AttributeType = keyof typeof ATTRIBUTE_TYPE
/** One attribute; `refAttrName` is used inside function bodies only. */
export type Attribute = { name: string } & AttributeValue
export type AttributeValue =
  | { type: 'int'; i: number }
  | { type: 'float'; f: number }
  | { type: 'string'; s: string }
  | { type: 'ints'; ints: number[] }
  | { type: 'floats'; floats: number[] }
  | { type: 'strings'; strings: string[] }
  | { type: 'tensor'; t: TensorProto }
  | { type: 'graph'; g: Graph }
  | { type: 'ref'; of: AttributeType; refAttrName: string }

/** TensorProto.DataType numbers. */
export const TENSOR_TYPE = {
  float: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  double: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
  uint4: 21,
  int4: 22,
} as const
export type TensorTypeName = keyof typeof TENSOR_TYPE

/** A constant: its bytes inline (`rawData`), or a byte range of another file in the model's folder (`external`). */
export type TensorProto = {
  name: string
  type: TensorTypeName
  dims: number[]
  rawData?: Uint8Array
  external?: { location: string; offset: number; length: number }
}
/**
 * A tensor value, or with `sequence` a sequence of such tensors. A dimension is a number, a symbol such as 'batch', or ''
 * when nothing is known of it; an absent shape means unknown rank, an absent type (inner values of foreign models) an
 * unknown one.
 */
export type ValueInfo = { name: string; type?: TensorTypeName; shape?: (number | string)[]; sequence?: true }
