import { FormatError, UnsupportedError } from '../../errors.ts'
import { toNumber } from './integers.ts'
import { decodeWire, has } from './schema.ts'
import type { Wire } from './schema.ts'
import { decodeTensor, typeName } from './tensor.ts'
import { ATTRIBUTE_TYPE } from './types.ts'
import type {
  Attribute,
  AttributeType,
  FunctionDef,
  Graph,
  Model,
  Node,
  OpsetId,
  StringEntry,
  ValueInfo,
} from './types.ts'

const ATTRIBUTE_NAMES = new Map(
  Object.entries(ATTRIBUTE_TYPE).map(([name, number]) => [number as number, name as AttributeType]),
)

/**
 * Reads the bytes of an .onnx file; `file` names it in messages. Fields that this project has no use for (schema.ts
 * lists those it has) are skipped: training, devices, quantisation annotations, doc strings of values and tensors.
 * Throws FormatError for bytes that are no model, tensors that do not fit their dims, integers beyond 2^53 and external
 * locations outside the model's folder; UnsupportedError, naming the place, for sparse or string tensors, values that
 * are no tensors, and kinds of attributes without a form in types.ts.
 */
export function decodeModel(bytes: Uint8Array, file = 'the ONNX model'): Model {
  const wire = decodeOrThrow(bytes, file)
  if (!wire.graph) throw new FormatError(`Cannot read ${file}: the model has no graph`)
  if (!wire.opsetImport?.length) throw new FormatError(`Cannot read ${file}: the model has no opset_import`)
  return {
    irVersion: toNumber(wire.irVersion ?? 0, `Cannot read ${file}: ir_version`),
    producerName: wire.producerName ?? '',
    producerVersion: wire.producerVersion ?? '',
    ...(wire.domain ? { domain: wire.domain } : {}),
    ...(has(wire, 'modelVersion')
      ? { modelVersion: toNumber(wire.modelVersion!, `Cannot read ${file}: model_version`) }
      : {}),
    ...(wire.docString ? { docString: wire.docString } : {}),
    opsetImport: decodeOpsets(wire.opsetImport, file),
    graph: decodeGraph(wire.graph, file),
    functions: (wire.functions ?? []).map((definition) => decodeFunction(definition, file)),
    metadataProps: decodeEntries(wire.metadataProps),
  }
}

function decodeOrThrow(bytes: Uint8Array, file: string): Wire<'ModelProto'> {
  try {
    return decodeWire(bytes)
  } catch (cause) {
    throw new FormatError(
      `Cannot read ${file}: it is no ONNX model, or a damaged one (${bytes.byteLength} bytes): ${(cause as Error).message}`,
      { cause },
    )
  }
}

function decodeGraph(wire: Wire<'GraphProto'>, file: string): Graph {
  const name = wire.name ?? ''
  if (wire.sparseInitializer?.length)
    throw new UnsupportedError(`Cannot read ${file}: graph "${name}" has sparse initializers, expected dense ones`)
  return {
    name,
    ...(wire.docString ? { docString: wire.docString } : {}),
    node: (wire.node ?? []).map((node) => decodeNode(node, file)),
    initializer: (wire.initializer ?? []).map((tensor) => decodeTensor(tensor, file)),
    input: decodeValues(wire.input, file),
    output: decodeValues(wire.output, file),
    valueInfo: decodeValues(wire.valueInfo, file),
    ...(wire.metadataProps?.length ? { metadataProps: decodeEntries(wire.metadataProps) } : {}),
  }
}

function decodeFunction(wire: Wire<'FunctionProto'>, file: string): FunctionDef {
  const name = wire.name ?? ''
  return {
    name,
    domain: wire.domain ?? '',
    ...(wire.overload ? { overload: wire.overload } : {}),
    input: [...(wire.input ?? [])],
    output: [...(wire.output ?? [])],
    attribute: [...(wire.attribute ?? [])],
    ...(wire.attributeProto?.length
      ? { attributeDefaults: wire.attributeProto.map((item) => decodeAttribute(item, `function "${name}"`, file)) }
      : {}),
    node: (wire.node ?? []).map((node) => decodeNode(node, file)),
    opsetImport: decodeOpsets(wire.opsetImport, file),
    ...(wire.docString ? { docString: wire.docString } : {}),
    ...(wire.valueInfo?.length ? { valueInfo: decodeValues(wire.valueInfo, file) } : {}),
    ...(wire.metadataProps?.length ? { metadataProps: decodeEntries(wire.metadataProps) } : {}),
  }
}

function decodeNode(wire: Wire<'NodeProto'>, file: string): Node {
  const name = wire.name ?? ''
  const opType = wire.opType ?? ''
  const owner = `node "${name}" (${opType})`
  return {
    name,
    opType,
    domain: wire.domain ?? '',
    ...(wire.overload ? { overload: wire.overload } : {}),
    input: [...(wire.input ?? [])],
    output: [...(wire.output ?? [])],
    attribute: (wire.attribute ?? []).map((attribute) => decodeAttribute(attribute, owner, file)),
    ...(wire.docString ? { docString: wire.docString } : {}),
    ...(wire.metadataProps?.length ? { metadataProps: decodeEntries(wire.metadataProps) } : {}),
  }
}

function decodeAttribute(wire: Wire<'AttributeProto'>, owner: string, file: string): Attribute {
  const name = wire.name ?? ''
  const where = `Cannot read ${file}: attribute "${name}" of ${owner}`
  const type = ATTRIBUTE_NAMES.get(wire.type ?? 0)
  if (!type)
    throw new UnsupportedError(
      `${where} has type ${wire.type ?? 0}, expected one of ${[...ATTRIBUTE_NAMES.values()].join(', ')}`,
    )
  if (wire.refAttrName) return { name, type: 'ref', of: type, refAttrName: wire.refAttrName }
  switch (type) {
    case 'int':
      return { name, type, i: toNumber(wire.i ?? 0, where) }
    case 'float':
      return { name, type, f: wire.f ?? 0 }
    case 'string':
      return { name, type, s: text(wire.s, where) }
    case 'ints':
      return { name, type, ints: (wire.ints ?? []).map((value) => toNumber(value, where)) }
    case 'floats':
      return { name, type, floats: [...(wire.floats ?? [])] }
    case 'strings':
      return { name, type, strings: (wire.strings ?? []).map((value) => text(value, where)) }
    case 'tensor':
      if (!wire.t) throw new FormatError(`${where} has no tensor`)
      return { name, type, t: decodeTensor(wire.t, file) }
    case 'graph':
      if (!wire.g) throw new FormatError(`${where} has no graph`)
      return { name, type, g: decodeGraph(wire.g, file) }
  }
}

function decodeValues(wires: readonly Wire<'ValueInfoProto'>[] | undefined, file: string): ValueInfo[] {
  return (wires ?? []).map((wire) => decodeValueInfo(wire, file))
}

function decodeValueInfo(wire: Wire<'ValueInfoProto'>, file: string): ValueInfo {
  const name = wire.name ?? ''
  const where = `Cannot read ${file}: value "${name}"`
  const sequence = wire.type?.sequenceType
  const type = sequence ? sequence.elemType : wire.type
  // Foreign models leave inner values without a type; 0 is UNDEFINED, which shape inference writes.
  if (!type || Object.keys(type).length === 0) return { name }
  if (!type.tensorType)
    throw new UnsupportedError(
      `${where} is of kind ${Object.keys(type).join(', ')}, expected a tensor or a sequence of tensors`,
    )
  const { elemType, shape } = type.tensorType
  return {
    name,
    ...(elemType ? { type: typeName(elemType, where) } : {}),
    ...(shape ? { shape: (shape.dim ?? []).map((dim) => decodeDimension(dim, where)) } : {}),
    ...(sequence ? { sequence: true } : {}),
  }
}

function decodeDimension(wire: Wire<'Dimension'>, where: string): number | string {
  return has(wire, 'dimValue') ? toNumber(wire.dimValue!, `${where}: a dimension`) : (wire.dimParam ?? '')
}

function decodeOpsets(wires: readonly Wire<'OperatorSetIdProto'>[] | undefined, file: string): OpsetId[] {
  return (wires ?? []).map(({ domain, version }) => ({
    domain: domain ?? '',
    version: toNumber(version ?? 0, `Cannot read ${file}: version of opset "${domain ?? ''}"`),
  }))
}

function decodeEntries(wires: readonly Wire<'StringStringEntryProto'>[] | undefined): StringEntry[] {
  return (wires ?? []).map(({ key, value }) => ({ key: key ?? '', value: value ?? '' }))
}

function text(bytes: Uint8Array | undefined, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes ?? new Uint8Array(0))
  } catch (cause) {
    throw new FormatError(`${where} is not UTF-8`, { cause })
  }
}
