import type { Model } from '../formats/onnx/types.ts'
import type { OpenedModel } from '../model/open.ts'
import { GraphBuilder, modelOf } from './builder.ts'
import { linear } from './pieces.ts'

/** The second half of an FF layer, with the model's own weights: down_in (n, ff) → ffn_out (n, d). */
export function downProjectionModel(model: OpenedModel, layer: number): Model {
  const { hidden, ff } = model.config
  const b = new GraphBuilder()
  const y = linear(b, model, 'down', b.input('down_in', 'float', ['n', ff]), layer)
  b.output(b.node('/outputs/ffn_out', 'Identity', [y], {}, { outputs: ['ffn_out'] }), 'float', ['n', hidden])
  return modelOf(b.graph('down_projection'), { producerVersion: '', opset: 23 })
}
