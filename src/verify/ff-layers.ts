import { FormatError } from '../errors.ts'
import type { Graph, Model, Node } from '../formats/onnx/types.ts'

/** Domain of the sparse products (docs/formats.md) and the keys of their metadata that are read here. */
const DOMAIN = 'spexpand'
const PRODUCTS: readonly string[] = ['SparseExpertMatMul', 'SparseExpertMatMulInteger']
const LAYER_KEY = 'spexpand.layer'
const MATRIX_KEY = 'spexpand.matrix'
const SPARSITY_KEY = 'spexpand.sparsity'

/** One sparse product of an artifact: y = W[expert] x, W (outputs, inputs) out of `experts`. */
export type Product = {
  readonly node: Node
  readonly layer: number
  /** 'gate_proj', 'up_proj' or 'down_proj'. */
  readonly matrix: string
  /** Its tensors without their last part: 'model.layers.0.mlp.gate_proj.experts'. */
  readonly base: string
  readonly experts: number
  readonly outputs: number
  readonly inputs: number
  /** What the metadata say of its zeros, a fraction of all weights. */
  readonly sparsity: number
}

/** The FF layer of one block: value names of its input (tokens, hidden) and output (tokens, hidden). */
export type FfLayer = {
  readonly layer: number
  readonly input: string
  readonly output: string
  /** Absent in layers without a gate. */
  readonly gate?: Product
  readonly up: Product
  readonly down: Product
}

/** Whether a node is a sparse product. */
export function isProduct({ domain, opType }: Node): boolean {
  return domain === DOMAIN && PRODUCTS.includes(opType)
}

/** The sparse FF layers of an artifact's graph, by layer. Throws FormatError when a layer is not whole. */
export function ffLayers({ graph }: Model, file: string): FfLayer[] {
  const byLayer = new Map<number, Map<string, Node>>()
  for (const node of graph.node.filter((candidate) => isProduct(candidate))) {
    const layer = Number(metadata(node, LAYER_KEY, file))
    const matrices = byLayer.get(layer) ?? new Map<string, Node>()
    byLayer.set(layer, matrices.set(metadata(node, MATRIX_KEY, file), node))
  }
  if (byLayer.size === 0) throw new FormatError(`Cannot verify ${file}: it has no sparse products`)
  return [...byLayer]
    .sort(([a], [b]) => a - b)
    .map(([layer, matrices]) => {
      const [gate, up, down] = ['gate_proj', 'up_proj', 'down_proj'].map((matrix) => matrices.get(matrix))
      if (!up || !down)
        throw new FormatError(
          `Cannot verify ${file}: block ${layer} has products of ${[...matrices.keys()].join(', ')}, wanted up_proj and ` +
            'down_proj, and gate_proj where the layer has a gate',
        )
      // What goes into one matrix is as wide as what comes out of the other.
      const [ff, hidden] = [up, down].map((node) => maskShape(graph, node, file)[1])
      const product = (node: Node, inputs: number): Product => productOf(graph, node, layer, inputs, file)
      return {
        layer,
        input: up.input[0]!,
        output: down.output[0]!,
        ...(gate ? { gate: product(gate, hidden!) } : {}),
        up: product(up, hidden!),
        down: product(down, ff!),
      }
    })
}

/** The products of a layer: three, or two without a gate. */
export function productsOf({ gate, up, down }: FfLayer): readonly Product[] {
  return gate ? [gate, up, down] : [up, down]
}

function productOf(graph: Graph, node: Node, layer: number, inputs: number, file: string): Product {
  const [experts, outputs, rowBytes] = maskShape(graph, node, file)
  if (rowBytes !== Math.ceil(inputs / 8))
    throw new FormatError(
      `Cannot verify ${file}: the mask of "${node.name}" has ${rowBytes} bytes a row, ${inputs} inputs need ` +
        `${Math.ceil(inputs / 8)}`,
    )
  return {
    node,
    layer,
    matrix: metadata(node, MATRIX_KEY, file),
    base: node.input[2]!.replace(/\.mask$/, ''),
    experts: experts!,
    outputs: outputs!,
    inputs,
    sparsity: Number(metadata(node, SPARSITY_KEY, file)),
  }
}

/** (experts, outputs, bytes of a row) */
function maskShape(graph: Graph, node: Node, file: string): readonly number[] {
  const mask = graph.initializer.find(({ name }) => name === node.input[2])
  if (mask?.type !== 'uint8' || mask.dims.length !== 3 || !mask.name.endsWith('.mask'))
    throw new FormatError(
      `Cannot verify ${file}: the mask of "${node.name}" is ` +
        (mask ? `"${mask.name}" ${mask.type} [${mask.dims.join(', ')}]` : 'no initializer') +
        ', wanted "….mask" uint8 [E, N, ⌈K/8⌉]',
    )
  return mask.dims
}

function metadata(node: Node, key: string, file: string): string {
  const value = node.metadataProps?.find((entry) => entry.key === key)?.value
  if (value === undefined)
    throw new FormatError(`Cannot verify ${file}: node "${node.name}" has no ${key} in its metadata`)
  return value
}
