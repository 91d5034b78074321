import type { Model } from '../formats/onnx/types.ts'
import type { Activation } from '../model/config.ts'
import type { OpenedModel } from '../model/open.ts'
import { activation } from './activation.ts'
import { selfAttention } from './attention.ts'
import { GraphBuilder, modelOf } from './builder.ts'
import { embedding, gatedIntermediate, head, linear, norm, product } from './pieces.ts'
import { layerPath } from './weights.ts'

// The graphs that the pipeline runs, one session each. Dimensions in quotes are free: B sequences of T tokens, n tokens.

/** input_ids (B, T) int64 → hidden (B, T, d). */
export function embedModel(model: OpenedModel): Model {
  const b = new GraphBuilder()
  const hidden = embedding(b, model, b.input('input_ids', 'int64', ['B', 'T']))
  return finish(b, 'embed', { hidden }, ['B', 'T', model.config.hidden])
}

/**
 * The first half of a block: hidden (B, T, d) → residual (B, T, d) = hidden + attention(norm(hidden)) and
 * ffn_in (B, T, d) = norm(residual). Sequences start at position 0 and have no padding, unless `padded`: then there are
 * two more inputs, attention_mask and position_ids (B, T) int64, and outputs count only where the mask is 1.
 *
 *     hidden ─┬─ norm ─ attention ─┐
 *             └─────────────────── Add ─┬─ residual
 *                                       └─ norm ─ ffn_in
 */
export function attentionModel(
  model: OpenedModel,
  layer: number,
  options: {
    /** @default false */
    readonly padded?: boolean
  } = {},
): Model {
  const b = new GraphBuilder()
  const shape = ['B', 'T', model.config.hidden]
  const hidden = b.input('hidden', 'float', shape)
  const padding = options.padded
    ? {
        attentionMask: b.input('attention_mask', 'int64', ['B', 'T']),
        positionIds: b.input('position_ids', 'int64', ['B', 'T']),
      }
    : undefined
  const mixed = selfAttention(b, model, layer, norm(b, model, 'attentionNorm', hidden, layer), padding)
  const residual = b.node(layerPath(layer), 'Add', [hidden, mixed])
  return finish(b, 'attention', { residual, ffn_in: norm(b, model, 'ffnNorm', residual, layer) }, shape)
}

/** The FF layer with the model's own weights: x (n, d) → down_in (n, ff) and ffn_out (n, d), without the residual. */
export function denseFfnModel(model: OpenedModel, layer: number): Model {
  const b = new GraphBuilder()
  const down_in = gatedIntermediate(b, model, layer, b.input('x', 'float', ['n', model.config.hidden]))
  b.output(named(b, 'down_in', down_in), 'float', ['n', model.config.ff])
  return finish(b, 'ffn', { ffn_out: linear(b, model, 'down', down_in, layer) }, ['n', model.config.hidden])
}

/** The input of the down projection with the model's own weights: x (n, d) → down_in (n, ff). */
export function gatedIntermediateModel(model: OpenedModel, layer: number): Model {
  const b = new GraphBuilder()
  const down_in = gatedIntermediate(b, model, layer, b.input('x', 'float', ['n', model.config.hidden]))
  return finish(b, 'intermediate', { down_in }, ['n', model.config.ff])
}

/** An FF layer whose weights come with each run: x (n, d), gate (ff, d), up (ff, d), down (d, ff) → y (n, d). */
export function ffnWithWeightsModel(kind: Activation): Model {
  const b = new GraphBuilder()
  const z = intermediateWithWeights(b, kind)
  const y = product(b, '/down', [z, b.input('down', 'float', ['d', 'ff'])])
  return finish(b, 'ffn_with_weights', { y }, ['n', 'd'])
}

/** Its first half: x (n, d), gate (ff, d), up (ff, d) → down_in (n, ff). */
export function intermediateWithWeightsModel(kind: Activation): Model {
  const b = new GraphBuilder()
  return finish(b, 'intermediate_with_weights', { down_in: intermediateWithWeights(b, kind) }, ['n', 'ff'])
}

/** x (n, k), weight (m, k) → y (n, m) = x · weightᵀ. */
export function matMulModel(): Model {
  const b = new GraphBuilder()
  const y = product(b, '/product', [b.input('x', 'float', ['n', 'k']), b.input('weight', 'float', ['m', 'k'])])
  return finish(b, 'product', { y }, ['n', 'm'])
}

/** hidden (n, d) after the last block → logits (n, vocab), with the final norm. */
export function headModel(model: OpenedModel): Model {
  const b = new GraphBuilder()
  const logits = head(b, model, b.input('hidden', 'float', ['n', model.config.hidden]))
  return finish(b, 'head', { logits }, ['n', model.config.vocab])
}

function intermediateWithWeights(b: GraphBuilder, kind: Activation): string {
  const x = b.input('x', 'float', ['n', 'd'])
  const gate = product(b, '/gate', [x, b.input('gate', 'float', ['ff', 'd'])])
  const up = product(b, '/up', [x, b.input('up', 'float', ['ff', 'd'])])
  return b.node('/ffn', 'Mul', [activation(b, '/act', kind, gate), up])
}

/** Names the outputs, all of one shape, and closes the model. */
function finish(
  b: GraphBuilder,
  name: string,
  outputs: Readonly<Record<string, string>>,
  shape: readonly (number | string)[],
): Model {
  for (const [output, value] of Object.entries(outputs)) b.output(named(b, output, value), 'float', [...shape])
  // Opset 23 has Attention and RotaryEmbedding. These graphs never leave this process: no version is worth stamping.
  return modelOf(b.graph(name), { producerVersion: '', opset: 23 })
}

/** A value under the name that callers ask for; onnxruntime removes the Identity. */
function named(b: GraphBuilder, name: string, value: string): string {
  return b.node(`/outputs/${name}`, 'Identity', [value], {}, { outputs: [name] })
}
