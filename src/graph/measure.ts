import type { AttributeValue, Graph, Model } from '../formats/onnx/types.ts'
import type { TensorRole } from '../model/families.ts'
import type { OpenedModel } from '../model/open.ts'
import type { ValueName } from './builder.ts'
import { GraphBuilder, modelOf } from './builder.ts'
import { activated, linear, update } from './pieces.ts'
import type { Source } from './weights.ts'
import { layerPath, sourceOf, weight } from './weights.ts'

/**
 * The FF layer seen neuron by neuron: x (n, d) → gate (ff, n), up (ff, n), z (ff, n) = act(gate) · up, down (d, n), each
 * row the outputs of one neuron over all tokens, and ffn_out (n, d), what is added to the hidden states. Without a gate
 * there is no gate, and z = act(up).
 */
export function measureModel(model: OpenedModel, layer: number): Model {
  const { hidden, ff, activation: kind, gated } = model.config
  const b = new GraphBuilder()
  const source = sourceOf(model)
  const x = b.input('x', 'float', ['n', hidden])
  const at = layerPath(layer)
  const gate = gated ? neurons(b, source, layer, 'gate', x) : undefined
  const up = neurons(b, source, layer, 'up', x)
  const z = activated(b, `${at}/mlp`, kind, gate, up)
  // Through rows of tokens and back: as a product W · z no kernel but onnxruntime's own takes it.
  const rows = linear(b, source, 'down', b.node(`${at}/mlp`, 'Transpose', [z], SWAPPED), layer)
  const down = b.node(`${at}/down`, 'Transpose', [rows], SWAPPED)
  const outputs: readonly Output[] = [
    ...(gate === undefined ? [] : [output('gate', gate, ff, 'n')]),
    output('up', up, ff, 'n'),
    output('z', z, ff, 'n'),
    output('down', down, hidden, 'n'),
    output('ffn_out', update(b, source, 'ffnPostNorm', rows, layer), 'n', hidden),
  ]
  for (const { name, shape } of outputs) b.output(name, 'float', [...shape])
  return modelOf(renamed(b.graph('measure'), outputs), { producerVersion: '', opset: 23 })
}

const SWAPPED: Record<string, AttributeValue> = { perm: { type: 'ints', ints: [1, 0] } }

type Output = { readonly name: string; readonly value: ValueName; readonly shape: readonly (number | string)[] }

function output(name: string, value: ValueName, ...shape: (number | string)[]): Output {
  return { name, value, shape }
}

/** Values become outputs under their names without nodes that would copy them: they are hundreds of megabytes a run. */
function renamed(graph: Graph, outputs: readonly Output[]): Graph {
  const names = new Map(outputs.map(({ value, name }) => [value, name]))
  const rename = (values: readonly string[]): string[] => values.map((value) => names.get(value) ?? value)
  return {
    ...graph,
    node: graph.node.map((node) => ({ ...node, input: rename(node.input), output: rename(node.output) })),
  }
}

/** W · xᵀ (rows of W, n) for x (n, in), with the bias of the matrix if it has one. */
function neurons(b: GraphBuilder, source: Source, layer: number, role: TensorRole, x: ValueName): ValueName {
  const at = `${layerPath(layer)}/${role}`
  const { model } = source
  const operands = [weight(b, source, role, layer), x]
  if (model.config.biases.includes(role))
    operands.push(b.node(at, 'Unsqueeze', [weight(b, source, role, layer, 'bias'), b.ints(1)]))
  return b.node(at, 'Gemm', operands, {
    ...(model.isTransposed(role) ? { transA: { type: 'int', i: 1 } } : {}),
    transB: { type: 'int', i: 1 },
  })
}
