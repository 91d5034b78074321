import type { Model } from '../formats/onnx/types.ts'
import type { TensorRole } from '../model/families.ts'
import type { OpenedModel } from '../model/open.ts'
import type { ValueName } from './builder.ts'
import { GraphBuilder, modelOf } from './builder.ts'
import { activated, update } from './pieces.ts'
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
  const gate = gated ? neurons(b, source, layer, 'gate', x, true) : undefined
  const up = neurons(b, source, layer, 'up', x, true)
  const z = activated(b, `${at}/mlp`, kind, gate, up)
  const down = neurons(b, source, layer, 'down', z, false)
  const rows = b.node(`${at}/mlp`, 'Transpose', [down], { perm: { type: 'ints', ints: [1, 0] } })
  const outputs: [string, ValueName, (number | string)[]][] = [
    ...(gate === undefined ? [] : [['gate', gate, [ff, 'n']] satisfies [string, ValueName, (number | string)[]]]),
    ['up', up, [ff, 'n']],
    ['z', z, [ff, 'n']],
    ['down', down, [hidden, 'n']],
    ['ffn_out', update(b, source, 'ffnPostNorm', rows, layer), ['n', hidden]],
  ]
  for (const [name, value, shape] of outputs)
    b.output(b.node(`/outputs/${name}`, 'Identity', [value], {}, { outputs: [name] }), 'float', shape)
  return modelOf(b.graph('measure'), { producerVersion: '', opset: 23 })
}

/** W · xᵀ (rows of W, n) for x (n, in), or W · x for x (in, n), with the bias of the matrix if it has one. */
function neurons(
  b: GraphBuilder,
  source: Source,
  layer: number,
  role: TensorRole,
  x: ValueName,
  transposed: boolean,
): ValueName {
  const at = `${layerPath(layer)}/${role}`
  const { model } = source
  const operands = [weight(b, source, role, layer), x]
  if (model.config.biases.includes(role))
    operands.push(b.node(at, 'Unsqueeze', [weight(b, source, role, layer, 'bias'), b.ints(1)]))
  return b.node(at, 'Gemm', operands, {
    ...(model.isTransposed(role) ? { transA: { type: 'int', i: 1 } } : {}),
    transB: { type: 'int', i: Number(transposed) },
  })
}
