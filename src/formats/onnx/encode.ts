import { exactInteger } from './integers.ts'
import { encodeWire } from './schema.ts'
import type { Wire } from './schema.ts'
import { encodeTensor } from './tensor.ts'
import { ATTRIBUTE_TYPE, TENSOR_TYPE } from './types.ts'
import type { Attribute, FunctionDef, Graph, Model, Node, OpsetId, ValueInfo } from './types.ts'

/**
 * The bytes of an .onnx file. Equal models give equal bytes; lists keep their order.
 * Throws FormatError for an integer beyond 2^53 or an external location outside the model's folder, ShapeError for a
 * tensor whose bytes do not fit its dims.
 */
export function encodeModel(model: Model): Uint8Array<ArrayBuffer> {
  return encodeWire({
    irVersion: exactInteger(model.irVersion, 'Cannot encode the model: irVersion'),
    producerName: model.producerName,
    producerVersion: model.producerVersion,
    domain: model.domain,
    modelVersion:
      model.modelVersion === undefined
        ? undefined
        : exactInteger(model.modelVersion, 'Cannot encode the model: modelVersion'),
    docString: model.docString,
    opsetImport: model.opsetImport.map(encodeOpset),
    graph: encodeGraph(model.graph),
    functions: model.functions.map(encodeFunction),
    metadataProps: model.metadataProps,
  })
}

function encodeOpset(opset: OpsetId): Wire<'OperatorSetIdProto'> {
  const { domain, version } = opset
  return { domain, version: exactInteger(version, `Cannot encode the model: version of opset "${domain}"`) }
}

function encodeGraph(graph: Graph): Wire<'GraphProto'> {
  return {
    name: graph.name,
    docString: graph.docString,
    node: graph.node.map(encodeNode),
    initializer: graph.initializer.map(encodeTensor),
    input: graph.input.map(encodeValueInfo),
    output: graph.output.map(encodeValueInfo),
    valueInfo: graph.valueInfo.map(encodeValueInfo),
    metadataProps: graph.metadataProps,
  }
}

function encodeFunction(definition: FunctionDef): Wire<'FunctionProto'> {
  const { attributeDefaults, ...rest } = definition
  return {
    ...rest,
    attributeProto: attributeDefaults?.map((attribute) => encodeAttribute(attribute, definition.name)),
    node: definition.node.map(encodeNode),
    opsetImport: definition.opsetImport.map(encodeOpset),
    valueInfo: definition.valueInfo?.map(encodeValueInfo),
  }
}

function encodeNode(node: Node): Wire<'NodeProto'> {
  return { ...node, attribute: node.attribute.map((attribute) => encodeAttribute(attribute, node.name || node.opType)) }
}

function encodeAttribute(attribute: Attribute, owner: string): Wire<'AttributeProto'> {
  const { name } = attribute
  if (attribute.type === 'ref') return { name, type: ATTRIBUTE_TYPE[attribute.of], refAttrName: attribute.refAttrName }
  const type = ATTRIBUTE_TYPE[attribute.type]
  const where = `Cannot encode attribute "${name}" of "${owner}": value`
  switch (attribute.type) {
    case 'int':
      return { name, type, i: exactInteger(attribute.i, where) }
    case 'float':
      return { name, type, f: attribute.f }
    case 'string':
      return { name, type, s: utf8(attribute.s) }
    case 'ints':
      return { name, type, ints: attribute.ints.map((value) => exactInteger(value, where)) }
    case 'floats':
      return { name, type, floats: attribute.floats }
    case 'strings':
      return { name, type, strings: attribute.strings.map(utf8) }
    case 'tensor':
      return { name, type, t: encodeTensor(attribute.t) }
    case 'graph':
      return { name, type, g: encodeGraph(attribute.g) }
  }
}

function encodeValueInfo(value: ValueInfo): Wire<'ValueInfoProto'> {
  const { name, type, shape, sequence } = value
  if (type === undefined) return { name }
  const dim = shape?.map((size) =>
    typeof size === 'number'
      ? { dimValue: exactInteger(size, `Cannot encode value "${name}": dimension`) }
      : size === ''
        ? {}
        : { dimParam: size },
  )
  const tensor = { tensorType: { elemType: TENSOR_TYPE[type], shape: dim && { dim } } }
  return { name, type: sequence ? { sequenceType: { elemType: tensor } } : tensor }
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
