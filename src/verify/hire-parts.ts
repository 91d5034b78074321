import { FormatError } from '../errors.ts'
import type { Graph, Model, Node, ValueInfo } from '../formats/onnx/types.ts'

/** Key of metadata_props of the nodes that select (docs/formats.md), and of their block. */
const OF_KEY = 'spexpand.hire.of'
const LAYER_KEY = 'spexpand.layer'

/** One thing that HiRE stands in for: values that model.onnx and hire.onnx both have, (tokens, ·) each. */
export type HirePart = {
  /** Decoder block, or 'softmax'. */
  readonly where: number | 'softmax'
  readonly x: string
  readonly y: string
  /** Indices of what is selected, of hire.onnx alone. */
  readonly picked: string
}

/**
 * Where two decoder graphs of one folder differ: for every node of hire.onnx that selects, the value that it reads of both
 * graphs and the one that comes out where a product of model.onnx was. Throws FormatError when there are several.
 */
export function hireParts(plain: Model, hire: Model, file: string): HirePart[] {
  const common = new Set(plain.graph.node.flatMap((node) => node.output.map((name) => `${node.opType} ${name}`)))
  const isNew = (node: Node): boolean => !node.output.some((name) => common.has(`${node.opType} ${name}`))
  const inPlain = new Set(plain.graph.node.flatMap(({ output }) => output))
  const ofTokens = reached(
    hire.graph,
    hire.graph.input.map(({ name }) => name),
  )
  const fresh = hire.graph.node.filter((node) => isNew(node))
  const made = new Set(fresh.flatMap(({ output }) => output))
  const selecting = fresh.filter((node) => metadata(node, OF_KEY) !== undefined)
  if (selecting.length === 0) throw new FormatError(`Cannot verify ${file}: no node of it selects (${OF_KEY})`)
  return selecting.map((node) => {
    const of = metadata(node, OF_KEY)
    const where = of === 'lm_head' ? ('softmax' as const) : Number(metadata(node, LAYER_KEY))
    const behind = reached({ ...hire.graph, node: fresh }, node.output)
    const outputs = [...behind].filter((name) => inPlain.has(name))
    const before = readBehind(fresh, node)
    const inputs = [...before].filter((name) => ofTokens.has(name) && !made.has(name))
    if (outputs.length !== 1 || inputs.length !== 1)
      throw new FormatError(
        `Cannot verify ${file}: node "${node.name}" stands between ${inputs.length} and ${outputs.length} values of ` +
          'model.onnx, wanted one and one',
      )
    return { where, x: inputs[0]!, y: outputs[0]!, picked: node.output[1]! }
  })
}

/** A value of one row a token. */
export function rowsOf(name: string, type: ValueInfo['type'] = 'float'): ValueInfo {
  return { name, type, shape: ['tokens', ''] }
}

/** Names that depend on some of these, which are among them. Nodes of a graph are in order. */
function reached({ node: nodes }: Pick<Graph, 'node'>, names: readonly string[]): Set<string> {
  const found = new Set(names)
  for (const node of nodes)
    if (reads(node).some((name) => found.has(name))) for (const name of node.output) found.add(name)
  return found
}

/** Names that a node and those in front of it, among `nodes`, read. */
function readBehind(nodes: readonly Node[], last: Node): Set<string> {
  const producers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const names = new Set<string>()
  const open = [last]
  for (let node = open.pop(); node; node = open.pop())
    for (const name of reads(node)) {
      if (names.has(name)) continue
      names.add(name)
      const producer = producers.get(name)
      if (producer) open.push(producer)
    }
  return names
}

/** Names a node reads, its subgraphs included. */
function reads(node: Node): string[] {
  const inner = node.attribute.flatMap((attribute) =>
    attribute.type === 'graph' ? attribute.g.node.flatMap((innerNode) => reads(innerNode)) : [],
  )
  return [...node.input, ...inner]
}

function metadata(node: Node, key: string): string | undefined {
  return node.metadataProps?.find((entry) => entry.key === key)?.value
}
