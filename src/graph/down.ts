import type { Model } from '../formats/onnx/types.ts'
import type { OpenedModel } from '../model/open.ts'
import { GraphBuilder, modelOf } from './builder.ts'
import { linear, update } from './pieces.ts'
import { sourceOf } from './weights.ts'

/**
 * The second half of an FF layer, with the model's own weights: down_in (n, ff) → ffn_out (n, d), as it is added to the
 * hidden states: behind its norm and scale, where there are such.
 */
export function downProjectionModel(model: OpenedModel, layer: number): Model {
  const { hidden, ff } = model.config
  const b = new GraphBuilder()
  const source = sourceOf(model)
  const y = update(
    b,
    source,
    'ffnPostNorm',
    linear(b, source, 'down', b.input('down_in', 'float', ['n', ff]), layer),
    layer,
  )
  b.output(b.node('/outputs/ffn_out', 'Identity', [y], {}, { outputs: ['ffn_out'] }), 'float', ['n', hidden])
  return modelOf(b.graph('down_projection'), { producerVersion: '', opset: 23 })
}
