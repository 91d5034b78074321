import type { Graph, Model, Node, StringEntry } from '../src/formats/onnx/types.ts'
import { FormatError, ShapeError, UnsupportedError } from '../src/errors.ts'
import { GraphBuilder } from '../src/graph/builder.ts'
import type { Activation } from '../src/model/config.ts'
import type { HireLayer, HireSoftmax } from '../src/predict/predictor.ts'
import { OPERATOR_DOMAIN } from './functions.ts'
import type { DenseProduct, HireKeep } from './hire-pieces.ts'
import { hireFeedForward, hireHead, isOperatorForm } from './hire-pieces.ts'
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
  readonly names: (layer: number) => FfNames
  /** Non-linearity of the FF layers. @default 'silu' */
  readonly activation?: Activation
  /** metadata_props of the node that selects; 'softmax' is the head's. */
  readonly metadata: (where: HireLayer | 'softmax') => StringEntry[]
}

/** Stored names of the FF matrices of a layer; gate only where there is one. */
export type FfNames = { readonly gate?: string; readonly up: string; readonly down: string }

/** '….mlp.hire' for '….mlp.gate_proj.weight', of the first matrix of a layer. */
export function hireBase({ gate, up }: Pick<FfNames, 'gate' | 'up'>): string {
  return (gate ?? up).replace(/\.[^.]+\.weight$/, '.hire')
}

/**
 * A decoder graph with HiRE in place of some dense products: inputs and outputs stay, weights stay where they are.
 * Throws FormatError when the graph has no such products, ShapeError for a k' that does not fit.
 */
export function withHire(decoder: Model, options: HireGraphOptions): Model {
  const { place, layers, softmax, keep = 'all', names, metadata, activation = 'silu' } = options
  let { graph } = decoder
  let isOurs = false
  for (const form of layers) {
    const named = names(form.layer)
    const { gate, up, down } = ffnProducts(graph, named)
    assertCounts(form, up.outputs)
    isOurs ||= keep === 'all' && isOperatorForm({ ...(gate ? { gate } : {}), up, down, activation })
    const b = new GraphBuilder()
    const path = `/model/layers.${form.layer}/mlp/hire`
    const [x, y] = [up.node.input[0]!, down.node.output[0]!]
    hireFeedForward(b, place, {
      path,
      base: hireBase(named),
      x,
      y,
      ...(gate ? { gate } : {}),
      up,
      down,
      activation,
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

/** The product that makes the logits. Throws UnsupportedError when the graph ends in something else. */
export function headProduct(graph: Graph): FoundProduct {
  const reshape = graph.node.find(({ output }) => output[0] === 'logits')
  const node = graph.node.find(({ output }) => output[0] === reshape?.input[0])
  if (node?.opType !== 'Gemm')
    throw new UnsupportedError(
      'Cannot predict logits that are scaled or capped behind the head: wanted those of a Gemm: use --parts ff',
    )
  const cast = graph.node.find(({ opType, output }) => opType === 'Cast' && output[0] === node.input[1])
  return productOf(graph, cast?.input[0] ?? node.input[1]!, node)
}

function ffnProducts(
  graph: Graph,
  { gate, up, down }: FfNames,
): { gate?: FoundProduct; up: FoundProduct; down: FoundProduct } {
  const find = (name: string): FoundProduct => {
    const cast = graph.node.find(({ opType, input }) => opType === 'Cast' && input[0] === name)
    const W = cast?.output[0] ?? name
    const node = graph.node.find(({ opType, input }) => opType === 'Gemm' && input[1] === W)
    if (!node) throw new FormatError(`Cannot put HiRE into this graph: it has no product with "${name}"`)
    return productOf(graph, name, node)
  }
  return { ...(gate === undefined ? {} : { gate: find(gate) }), up: find(up), down: find(down) }
}

/** A product and the node that computes it. */
type FoundProduct = DenseProduct & { readonly node: Node }

function productOf(graph: Graph, name: string, node: Node): FoundProduct {
  const weight = graph.initializer.find((tensor) => tensor.name === name)
  if (!weight) throw new FormatError(`Cannot put HiRE into this graph: "${name}" is not one of its weights`)
  const [W, bias] = node.input.slice(1)
  const isTransposed = !node.attribute.some((one) => one.type === 'int' && one.name === 'transB' && one.i === 1)
  const [outputs, inputs] = isTransposed ? weight.dims.toReversed() : weight.dims
  return { W: W!, name, outputs: outputs!, inputs: inputs!, isTransposed, ...(bias ? { bias } : {}), node }
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
