import { FormatError } from '../errors.ts'
import type { Graph, Model, Node, TensorProto, ValueInfo } from '../formats/onnx/types.ts'

/** Key of metadata_props that names the value between the last block and the final norm (docs/formats.md). */
const FINAL_HIDDEN_KEY = 'spexpand.final_hidden'
const LOGITS = 'logits'

/** A decoder graph in two: tokens to hidden states, and hidden states to logits. */
export type SplitDecoder = {
  /** The graph's own inputs → `hiddenName` (tokens, hidden); no caches come out. */
  readonly body: Model
  readonly hiddenName: string
  /** Nodes of the head, in order, their initializers, and the name of their result (tokens, vocab). */
  readonly head: Head
}
export type Head = {
  readonly nodes: readonly Node[]
  readonly initializers: readonly TensorProto[]
  readonly input: string
  readonly output: string
  readonly vocab: number
}

/**
 * Cuts a decoder before its head, so that logits can be computed in pieces. Throws FormatError when the model does not
 * say where, or when more than that one value crosses the cut.
 */
export function splitBeforeHead(model: Model, file: string): SplitDecoder {
  const { graph } = model
  const hiddenName = model.metadataProps.find(({ key }) => key === FINAL_HIDDEN_KEY)?.value
  if (hiddenName === undefined)
    throw new FormatError(
      `Cannot split ${file}: its metadata has no ${FINAL_HIDDEN_KEY}: it was not written by spexpand`,
    )
  const vocab = graph.output.find(({ name }) => name === LOGITS)?.shape?.at(-1)
  if (typeof vocab !== 'number')
    throw new FormatError(`Cannot split ${file}: it has no output "${LOGITS}" of known size`)
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const last = producers.get(LOGITS)
  // The Reshape to (batch, sequence, vocab) belongs to neither half: it needs the shape of input_ids.
  const output = last?.opType === 'Reshape' ? last.input[0]! : LOGITS
  const bodyNodes = ancestors(graph, producers, [hiddenName], new Set())
  const headNodes = ancestors(graph, producers, [output], new Set([hiddenName]))
  const crossing = headNodes.find((node) => bodyNodes.includes(node))
  if (bodyNodes.length === 0 || crossing)
    throw new FormatError(
      `Cannot split ${file} at "${hiddenName}": ` +
        (crossing ? `node "${crossing.name}" is needed on both sides` : 'no node makes this value'),
    )
  const hidden: ValueInfo = { name: hiddenName, type: 'float', shape: ['tokens', ''] }
  return {
    hiddenName,
    body: {
      ...model,
      graph: { ...graph, node: bodyNodes, initializer: initializersOf(graph, bodyNodes), output: [hidden] },
    },
    head: { nodes: headNodes, initializers: initializersOf(graph, headNodes), input: hiddenName, output, vocab },
  }
}

/** The nodes that `wanted` depend on, in the graph's order; `given` values are not followed. */
export function ancestors(
  graph: Graph,
  producers: ReadonlyMap<string, Node>,
  wanted: readonly string[],
  given: ReadonlySet<string>,
): Node[] {
  const needed = new Set<Node>()
  const open = [...wanted]
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = producers.get(name)
    if (!node || given.has(name) || needed.has(node)) continue
    needed.add(node)
    open.push(...usedBy(node))
  }
  return graph.node.filter((node) => needed.has(node))
}

/** Names a node reads, those read inside its subgraphs included. */
function usedBy(node: Node): string[] {
  const inner = node.attribute.flatMap((attribute) =>
    attribute.type === 'graph' ? attribute.g.node.flatMap((innerNode) => usedBy(innerNode)) : [],
  )
  return [...node.input, ...inner].filter((name) => name !== '')
}

export function initializersOf(graph: Graph, nodes: readonly Node[]): TensorProto[] {
  const used = new Set(nodes.flatMap((node) => usedBy(node)))
  return graph.initializer.filter(({ name }) => used.has(name))
}
