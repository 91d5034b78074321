import type { Graph, Model, Node, StringEntry } from '../src/formats/onnx/types.ts'
import { FormatError, ShapeError } from '../src/errors.ts'
import { GraphBuilder } from '../src/graph/builder.ts'
import type { HireLayer, HireSoftmax } from '../src/predict/predictor.ts'
import { OPERATOR_DOMAIN } from './functions.ts'
import type { DenseProduct, HireKeep } from './hire-pieces.ts'
import { hireFeedForward, hireHead } from './hire-pieces.ts'
import { NEURON_SUBSET_FFN, neuronSubsetFfn } from './neuron-subset.ts'
import type { PlaceOf } from './weights.ts'

/** Base of the tensors of the softmax's predictor; those of an FF layer are beside its matrices (hireBase()). */
export const HEAD_BASE = 'lm_head.hire'

export type HireGraphOptions = {
  /** Where the tensors of the predictors lie. */
  readonly place: PlaceOf
  /** FF layers that get a predictor. */
  readonly layers: readonly HireLayer[]
  readonly softmax?: HireSoftmax
  /** @default 'all' */
  readonly keep?: HireKeep
  /** Names of the stored FF matrices of a layer. */
  readonly names: (layer: number) => { readonly gate: string; readonly up: string; readonly down: string }
  /** metadata_props of the node that selects; 'softmax' is the head's. */
  readonly metadata: (where: HireLayer | 'softmax') => StringEntry[]
}

/** '….mlp.hire' for '….mlp.gate_proj.weight'. */
export function hireBase(gate: string): string {
  return gate.replace(/\.[^.]+\.weight$/, '.hire')
}

/**
 * A decoder graph with HiRE in place of some dense products: inputs and outputs stay, weights stay where they are.
 * Throws FormatError when the graph has no such products, ShapeError for a k' that does not fit.
 */
export function withHire(decoder: Model, options: HireGraphOptions): Model {
  const { place, layers, softmax, keep = 'all', names, metadata } = options
  let { graph } = decoder
  for (const form of layers) {
    const named = names(form.layer)
    const { gate, up, down } = ffnProducts(graph, named)
    assertCounts(form, gate.outputs)
    const b = new GraphBuilder()
    const path = `/model/layers.${form.layer}/mlp/hire`
    const [x, y] = [gate.node.input[0]!, down.node.output[0]!]
    hireFeedForward(b, place, {
      path,
      base: hireBase(named.gate),
      x,
      y,
      gate,
      up,
      down,
      form,
      keep,
      metadata: metadata(form),
    })
    graph = spliced(graph, down.node, b.graph('hire'))
  }
  if (softmax) {
    const product = headProduct(graph)
    assertCounts({ ...softmax, group: 1, always: 0 }, product.outputs)
    const b = new GraphBuilder()
    const [x, logits] = [product.node.input[0]!, product.node.output[0]!]
    hireHead(b, place, {
      path: '/lm_head/hire',
      base: HEAD_BASE,
      x,
      logits,
      product,
      form: softmax,
      metadata: metadata('softmax'),
    })
    graph = spliced(graph, product.node, b.graph('hire'))
  }
  const isOurs = layers.length > 0 && keep === 'all'
  const opset = decoder.opsetImport
  return {
    ...decoder,
    opsetImport:
      isOurs && !opset.some(({ domain }) => domain === OPERATOR_DOMAIN)
        ? [...opset, { domain: OPERATOR_DOMAIN, version: 1 }]
        : opset,
    functions: [
      ...decoder.functions.filter(({ name }) => name !== NEURON_SUBSET_FFN),
      ...(isOurs ? [neuronSubsetFfn()] : []),
    ],
    graph: living(graph),
  }
}

/** The product that makes the logits. Throws FormatError when the graph ends in something else. */
export function headProduct(graph: Graph): DenseProduct & { readonly node: Node } {
  const reshape = graph.node.find(({ output }) => output[0] === 'logits')
  const node = graph.node.find(({ output }) => output[0] === reshape?.input[0])
  if (node?.opType !== 'Gemm')
    throw new FormatError('Cannot put HiRE into a graph whose logits are not those of a Gemm')
  const cast = graph.node.find(({ opType, output }) => opType === 'Cast' && output[0] === node.input[1])
  return productOf(graph, cast?.input[0] ?? node.input[1]!, node)
}

function ffnProducts(
  graph: Graph,
  names: { readonly gate: string; readonly up: string; readonly down: string },
): Record<'gate' | 'up' | 'down', DenseProduct & { readonly node: Node }> {
  const find = (name: string): DenseProduct & { readonly node: Node } => {
    const cast = graph.node.find(({ opType, input }) => opType === 'Cast' && input[0] === name)
    const W = cast?.output[0] ?? name
    const node = graph.node.find(({ opType, input }) => opType === 'Gemm' && input[1] === W)
    if (!node || node.input.length > 2)
      throw new FormatError(`Cannot put HiRE into this graph: it has no product with "${name}" alone`)
    return productOf(graph, name, node)
  }
  return { gate: find(names.gate), up: find(names.up), down: find(names.down) }
}

function productOf(graph: Graph, name: string, node: Node): DenseProduct & { readonly node: Node } {
  const weight = graph.initializer.find((tensor) => tensor.name === name)
  if (!weight) throw new FormatError(`Cannot put HiRE into this graph: "${name}" is not one of its weights`)
  return { W: node.input[1]!, name, outputs: weight.dims[0]!, inputs: weight.dims[1]!, node }
}

function assertCounts(form: { k: number; kPrime: number; group: number; always: number }, n: number): void {
  const { k, kPrime, group, always } = form
  if (!(k >= 1 && k <= kPrime && kPrime <= n && always <= kPrime && kPrime % group === 0 && n % group === 0))
    throw new ShapeError(
      `Cannot select k' = ${kPrime} of ${n} in groups of ${group} for k = ${k} with ${always} always: ` +
        `wanted k ≤ k' ≤ n, always ≤ k', and whole groups`,
    )
}

/** The graph with other nodes in place of one; constants that it has already are taken over. */
function spliced(graph: Graph, old: Node, { node, initializer }: Graph): Graph {
  const held = new Set(graph.initializer.map(({ name }) => name))
  return {
    ...graph,
    node: graph.node.flatMap((one) => (one === old ? node : [one])),
    initializer: [...graph.initializer, ...initializer.filter(({ name }) => !held.has(name))],
  }
}

/** Without what no output needs any more. */
function living(graph: Graph): Graph {
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const needed = new Set<Node>()
  const read = new Set<string>()
  const open = graph.output.map(({ name }) => name)
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (read.has(name)) continue
    read.add(name)
    const node = producers.get(name)
    if (!node || needed.has(node)) continue
    needed.add(node)
    open.push(...readBy(node))
  }
  return {
    ...graph,
    node: graph.node.filter((node) => needed.has(node)),
    initializer: graph.initializer.filter(({ name }) => read.has(name)),
    valueInfo: graph.valueInfo.filter(({ name }) => read.has(name)),
  }
}

/** Names a node reads, its subgraphs included. */
function readBy(node: Node): string[] {
  const inner = node.attribute.flatMap((attribute) =>
    attribute.type === 'graph' ? attribute.g.node.flatMap((innerNode) => readBy(innerNode)) : [],
  )
  return [...node.input, ...inner]
}
