import type { Model } from '../formats/onnx/types.ts'
import type { TensorRole } from '../model/families.ts'
import type { OpenedModel } from '../model/open.ts'
import { activation } from './activation.ts'
import type { ValueName } from './builder.ts'
import { GraphBuilder, modelOf } from './builder.ts'
import { layerPath, weight } from './weights.ts'

/**
 * The FF layer seen neuron by neuron: x (n, d) → gate (ff, n), up (ff, n), z (ff, n) = act(gate) · up, down (d, n), each
 * row the outputs of one neuron over all tokens, and ffn_out (n, d), the same as down the other way round.
 */
export function measureModel(model: OpenedModel, layer: number): Model {
  const { hidden, ff, activation: kind } = model.config
  const b = new GraphBuilder()
  const x = b.input('x', 'float', ['n', hidden])
  const at = layerPath(layer)
  const gate = neurons(b, model, layer, 'gate', x, true)
  const up = neurons(b, model, layer, 'up', x, true)
  const z = b.node(`${at}/mlp`, 'Mul', [activation(b, `${at}/mlp/act`, kind, gate), up])
  const down = neurons(b, model, layer, 'down', z, false)
  const ffn_out = b.node(`${at}/mlp`, 'Transpose', [down], { perm: { type: 'ints', ints: [1, 0] } })
  const outputs: [string, ValueName, (number | string)[]][] = [
    ['gate', gate, [ff, 'n']],
    ['up', up, [ff, 'n']],
    ['z', z, [ff, 'n']],
    ['down', down, [hidden, 'n']],
    ['ffn_out', ffn_out, ['n', hidden]],
  ]
  for (const [name, value, shape] of outputs)
    b.output(b.node(`/outputs/${name}`, 'Identity', [value], {}, { outputs: [name] }), 'float', shape)
  return modelOf(b.graph('measure'), { producerVersion: '', opset: 23 })
}

/** W · xᵀ (rows of W, n) for x (n, in), or W · x for x (in, n), with the bias of the matrix if it has one. */
function neurons(
  b: GraphBuilder,
  model: OpenedModel,
  layer: number,
  role: TensorRole,
  x: ValueName,
  transposed: boolean,
): ValueName {
  const at = `${layerPath(layer)}/${role}`
  const operands = [weight(b, model, role, layer), x]
  if (model.config.biases.includes(role))
    operands.push(b.node(at, 'Unsqueeze', [weight(b, model, role, layer, 'bias'), b.ints(1)]))
  return b.node(at, 'Gemm', operands, { transB: { type: 'int', i: Number(transposed) } })
}
