import type {
  Attribute,
  AttributeValue,
  FunctionDef,
  Graph,
  Model,
  Node,
  StringEntry,
  TensorProto,
  TensorTypeName,
  ValueInfo,
} from '../formats/onnx/types.ts'
import { elementCount } from '../tensor/dtype.ts'

/** The name of a value in the graph. */
export type ValueName = string

/** Bytes of a weight in a file of the model's folder. */
export type ExternalData = { location: string; offset: number; length: number }

/**
 * Collects the nodes of one graph. Node names are paths ('/model/layers.0/attn/q_proj/MatMul'), the output of a node is
 * `${path}/output_0`, constants are shared by content.
 */
export class GraphBuilder {
  private readonly nodes: Node[] = []
  private readonly initializers = new Map<string, TensorProto>()
  private readonly valueInfo: ValueInfo[] = []
  private readonly inputs: ValueInfo[] = []
  private readonly outputs: ValueInfo[] = []
  private readonly names = new Set<string>()

  input(name: ValueName, type: TensorTypeName, shape: (number | string)[]): ValueName {
    this.inputs.push({ name, type, shape })
    return name
  }

  output(name: ValueName, type: TensorTypeName, shape: (number | string)[]): void {
    this.outputs.push({ name, type, shape })
  }

  /** Declares the shape of an inner value where inference cannot find it (after Loop, after own operators). */
  declare(name: ValueName, type: TensorTypeName, shape: (number | string)[]): void {
    this.valueInfo.push({ name, type, shape })
  }

  /**
   * Adds one node at `path` (its name becomes `${path}/${op}`) and returns its first output. Empty strings in `inputs`
   * are absent optional inputs. `outputs`: explicit output names, or a count.
   */
  node(
    path: string,
    op: string,
    inputs: readonly ValueName[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    options: { domain?: string; outputs?: readonly ValueName[] | number; metadata?: StringEntry[] } = {},
  ): ValueName {
    return this.nodeOutputs(path, op, inputs, attributes, options)[0]!
  }

  /** Like node(), but returns every output name. */
  nodeOutputs(
    path: string,
    op: string,
    inputs: readonly ValueName[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    options: { domain?: string; outputs?: readonly ValueName[] | number; metadata?: StringEntry[] } = {},
  ): ValueName[] {
    const name = this.unique(`${path}/${op}`)
    const output =
      typeof options.outputs === 'object'
        ? [...options.outputs]
        : Array.from({ length: options.outputs ?? 1 }, (_, i) => `${name}/output_${i}`)
    this.nodes.push({
      name,
      opType: op,
      domain: options.domain ?? '',
      input: [...inputs],
      output,
      attribute: attributeList(attributes),
      ...(options.metadata ? { metadataProps: options.metadata } : {}),
    })
    return output
  }

  /** A weight that lies in a file beside the model. */
  external(name: ValueName, type: TensorTypeName, dims: readonly number[], external: ExternalData): ValueName {
    if (!this.initializers.has(name)) this.initializers.set(name, { name, type, dims: [...dims], external })
    return name
  }

  /** A small constant held in the model itself, shared by content. */
  constant(
    type: 'int64' | 'int32' | 'float' | 'bool' | 'uint8',
    dims: readonly number[],
    values: readonly number[],
  ): ValueName {
    const name = `/constants/${type}/${dims.join('x')}/${values.length > 8 ? hashOf(values) : values.join(',')}`
    return this.shared(smallTensor(name, type, dims, values))
  }

  ints(...values: number[]): ValueName {
    return this.constant('int64', [values.length], values)
  }

  /** An initializer given as a whole message. */
  initializer(tensor: TensorProto): ValueName {
    if (!this.initializers.has(tensor.name)) this.initializers.set(tensor.name, tensor)
    return tensor.name
  }

  graph(name: string): Graph {
    return {
      name,
      node: this.nodes,
      initializer: [...this.initializers.values()],
      input: this.inputs,
      output: this.outputs,
      valueInfo: this.valueInfo,
    }
  }

  /** Finds the equal constant, or adds this one; long ones have a hash in their name, which may collide. */
  private shared(tensor: TensorProto): ValueName {
    for (let i = 0; ; i++) {
      const name = i === 0 ? tensor.name : `${tensor.name}_${i}`
      const held = this.initializers.get(name)
      if (!held) this.initializers.set(name, { ...tensor, name })
      if (!held || Buffer.compare(held.rawData!, tensor.rawData!) === 0) return name
    }
  }

  private unique(name: string): string {
    let unique = name
    for (let i = 1; this.names.has(unique); i++) unique = `${name}_${i}`
    this.names.add(unique)
    return unique
  }
}

/** A record of attributes as the list the format wants, sorted by name so that equal graphs have equal bytes. */
export function attributeList(attributes: Readonly<Record<string, AttributeValue>>): Attribute[] {
  return Object.keys(attributes)
    .sort()
    .map((name) => ({ name, ...attributes[name]! }))
}

/** A small constant tensor with its bytes inline. */
export function smallTensor(
  name: string,
  type: 'int64' | 'int32' | 'float' | 'bool' | 'uint8',
  dims: readonly number[],
  values: readonly number[],
): TensorProto {
  if (elementCount(dims) !== values.length)
    throw new RangeError(`Constant ${name}: ${values.length} values for dims [${dims.join(', ')}]`)
  return { name, type, dims: [...dims], rawData: bytesOf(type, values) }
}

function bytesOf(type: 'int64' | 'int32' | 'float' | 'bool' | 'uint8', values: readonly number[]): Uint8Array {
  switch (type) {
    case 'int64':
      return new Uint8Array(BigInt64Array.from(values, (v) => BigInt(v)).buffer)
    case 'int32':
      return new Uint8Array(Int32Array.from(values).buffer)
    case 'float':
      return new Uint8Array(Float32Array.from(values).buffer)
    case 'bool':
    case 'uint8':
      return Uint8Array.from(values)
  }
}

/** FNV-1a over the numbers: only a name, equal names are compared by content. */
function hashOf(values: readonly number[]): string {
  let h = 0x811c9dc5
  const bytes = new Uint8Array(Float64Array.from(values).buffer)
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193) >>> 0
  return `${values.length}-${h.toString(16).padStart(8, '0')}`
}

/**
 * The model around a graph: the operator sets of onnxruntime, and ours where functions are given. IR 10 and opset 21
 * (`opset` @default 21), which old runtimes load; with opset 23 the IR version that came with it.
 */
export function modelOf(
  graph: Graph,
  options: { functions?: FunctionDef[]; metadata?: StringEntry[]; producerVersion: string; opset?: 21 | 23 },
): Model {
  const functions = options.functions ?? []
  const opset = options.opset ?? 21
  return {
    irVersion: opset === 23 ? 11 : 10,
    producerName: 'spexpand',
    producerVersion: options.producerVersion,
    opsetImport: [
      { domain: '', version: opset },
      { domain: 'com.microsoft', version: 1 },
      ...(functions.length > 0 ? [{ domain: 'spexpand', version: 1 }] : []),
    ],
    graph,
    functions,
    metadataProps: options.metadata ?? [],
  }
}
