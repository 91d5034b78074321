import type { Model, Node, TensorProto } from '../formats/onnx/types.ts'

/** Domain of operators that only graphs run at once may use: they are part of no artifact. */
const INTERNAL = 'spexpand.internal'
const STORED: readonly string[] = ['float', 'float16', 'bfloat16']

/**
 * The same graph with its products by constant weights, x · Wᵀ (+ bias), as DenseMatMul of the native library: f32 products
 * on the processor's matrix units, the weights as they are stored. `fast`: x with 16 bits of mantissa, see gemm.h.
 *
 *     x ─ Gemm (W ─ Cast, bias) ─ y      →      x ─ DenseMatMul (W) ─ Add (bias) ─ y
 *
 * W · xᵀ becomes DenseMatMul of W as f32 and x.
 *
 * Products of another form stay with onnxruntime: weights that are cut from larger ones, or stored (in, out).
 */
export function withTileProducts(model: Model, fast: boolean): Model {
  const { graph } = model
  const weights = constantMatrices(graph.node, graph.initializer)
  const stored = new Set(graph.initializer.filter(({ type }) => type !== 'float').map(({ name }) => name))
  const nodes = graph.node.flatMap((node) => {
    if (!isProduct(node)) return [node]
    const [left, right] = node.input
    const weight = weights.get(right!)
    if (weight !== undefined) return tileProduct(node, left!, weight, fast)
    // W · xᵀ, neuron by neuron: the operator takes f32 on the left, so the weights come from their Cast.
    return weights.has(left!) && !stored.has(left!) ? tileProduct(node, left!, right!, fast) : [node]
  })
  if (nodes.every((node) => node.domain !== INTERNAL)) return model
  return {
    ...model,
    opsetImport: [...model.opsetImport, { domain: INTERNAL, version: 1 }],
    graph: { ...graph, node: withoutUnused(nodes, new Set(graph.output.map(({ name }) => name))) },
  }
}

/** By the name under which a node takes it: the stored matrix that is that value, cast to f32 or not. */
function constantMatrices(nodes: readonly Node[], initializers: readonly TensorProto[]): Map<string, string> {
  const stored = new Map<string, string>()
  for (const { name, type, dims } of initializers)
    if (dims.length === 2 && STORED.includes(type)) stored.set(name, name)
  for (const { opType, input, output } of nodes) {
    const from = opType === 'Cast' ? stored.get(input[0]!) : undefined
    if (from !== undefined) stored.set(output[0]!, from)
  }
  return stored
}

/** A · Bᵀ (+ C) without factors. */
function isProduct({ opType, domain, attribute }: Node): boolean {
  if (opType !== 'Gemm' || domain !== '') return false
  return attribute.length === 1 && attribute[0]!.name === 'transB' && 'i' in attribute[0]! && attribute[0].i === 1
}

function tileProduct(node: Node, x: string, weight: string, fast: boolean): Node[] {
  const bias = node.input[2]
  const y = node.output[0]!
  const product: Node = {
    ...node,
    opType: 'DenseMatMul',
    domain: INTERNAL,
    input: [x, weight],
    attribute: [{ name: 'fast', type: 'int', i: fast ? 1 : 0 }],
  }
  if (!bias) return [product]
  const unbiased = `${y}/unbiased`
  return [
    { ...product, output: [unbiased] },
    { name: `${node.name}/Add`, opType: 'Add', domain: '', input: [unbiased, bias], output: [y], attribute: [] },
  ]
}

/** Without the casts that nothing takes any more. */
function withoutUnused(nodes: readonly Node[], outputs: ReadonlySet<string>): Node[] {
  const used = new Set(nodes.flatMap(({ input }) => input))
  return nodes.filter(({ opType, output }) => opType !== 'Cast' || used.has(output[0]!) || outputs.has(output[0]!))
}
