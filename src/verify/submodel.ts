import type { Model, Node, TensorProto, ValueInfo } from '../formats/onnx/types.ts'
import type { FfLayer, Product } from './ff-layers.ts'
import { isProduct, productsOf } from './ff-layers.ts'
import { ancestors, initializersOf } from './split.ts'

/**
 * The part of a model that makes `outputs` from `inputs`; inputs of the whole model that it still needs stay inputs.
 * Functions come along, weights stay where they are.
 */
export function extract(model: Model, inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Model {
  const { graph } = model
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const given = new Set(inputs.map(({ name }) => name))
  const nodes = ancestors(
    graph,
    producers,
    outputs.map(({ name }) => name),
    given,
  )
  const used = new Set(nodes.flatMap(({ input }) => input))
  return {
    ...model,
    metadataProps: [],
    graph: {
      name: 'part',
      node: nodes,
      initializer: initializersOf(graph, nodes),
      input: [...inputs, ...graph.input.filter(({ name }) => used.has(name) && !given.has(name))],
      output: [...outputs],
      valueInfo: graph.valueInfo.filter(({ name }) => nodes.some((node) => node.output.includes(name))),
    },
  }
}

/** FF layers side by side, each with an input `hidden_{layer}` of its own → `ff_{layer}`, (tokens, hidden). */
export function ffModel(model: Model, layers: readonly FfLayer[]): Model {
  const renamed = new Map(layers.map(({ layer, input }) => [input, ffInputName(layer)] as const))
  const named = new Map(layers.map(({ layer, output }) => [output, ffOutputName(layer)] as const))
  const rename = (name: string): string => renamed.get(name) ?? named.get(name) ?? name
  const part = extract(
    model,
    layers.map(({ input, down }) => hidden(input, down.outputs)),
    layers.map(({ output, down }) => hidden(output, down.outputs)),
  )
  const { graph } = part
  return {
    ...part,
    graph: {
      ...graph,
      node: graph.node.map((node) => ({ ...node, input: node.input.map(rename), output: node.output.map(rename) })),
      input: graph.input.map((value) => ({ ...value, name: rename(value.name) })),
      output: graph.output.map((value) => ({ ...value, name: rename(value.name) })),
      valueInfo: graph.valueInfo.filter(({ name }) => !named.has(name)),
    },
  }
}

export const ffInputName = (layer: number): string => `hidden_${layer}`
export const ffOutputName = (layer: number): string => `ff_${layer}`

/** One product alone: x (tokens, inputs), expert (tokens) → y (tokens, outputs). */
export function productModel(model: Model, { node, inputs, outputs }: Product): Model {
  const names = ['x', 'expert', ...node.input.slice(2)]
  return {
    ...model,
    metadataProps: [],
    graph: {
      name: 'product',
      node: [{ ...node, input: names, output: ['y'] }],
      initializer: initializersOf(model.graph, [node]),
      input: [
        { name: 'x', type: 'float', shape: ['tokens', inputs] },
        { name: 'expert', type: 'int64', shape: ['tokens'] },
      ],
      output: [{ name: 'y', type: 'float', shape: ['tokens', outputs] }],
      valueInfo: [],
    },
  }
}

/** Dense weights (outputs, inputs) of a product. */
export type DenseWeights = (product: Product) => Float32Array

/**
 * The same graph with one dense matrix in place of every sparse product: what the model costs without sparsity. The
 * routers, which nobody asks any more, are left out.
 */
export function denseTwin(model: Model, layers: readonly FfLayer[], weights: DenseWeights): Model {
  const products = new Map(layers.flatMap((layer) => productsOf(layer)).map((product) => [product.node, product]))
  const { graph } = model
  const dense: TensorProto[] = []
  const node = graph.node.map((original): Node => {
    const product = products.get(original)
    if (!product) return original
    dense.push(denseTensor(product, weights(product)))
    return {
      name: original.name,
      opType: 'Gemm',
      domain: '',
      input: [original.input[0]!, dense.at(-1)!.name],
      output: original.output,
      attribute: [{ name: 'transB', type: 'int', i: 1 }],
    }
  })
  const opsetImport = node.some((one) => isProduct(one))
    ? model.opsetImport
    : model.opsetImport.filter(({ domain }) => domain !== 'spexpand')
  const whole = { ...model, functions: [], opsetImport, graph: { ...graph, node } }
  const part = extract(whole, graph.input, graph.output)
  return { ...part, graph: { ...part.graph, initializer: [...part.graph.initializer, ...dense] } }
}

function denseTensor({ base, outputs, inputs }: Product, W: Float32Array): TensorProto {
  const rawData = new Uint8Array(W.buffer, W.byteOffset, W.byteLength)
  return { name: `${base}.dense`, type: 'float', dims: [outputs, inputs], rawData }
}

function hidden(name: string, width: number): ValueInfo {
  return { name, type: 'float', shape: ['tokens', width] }
}
