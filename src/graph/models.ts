import type { Model } from '../formats/onnx/types.ts'
import type { ModelConfig } from '../model/config.ts'
import type { OpenedModel } from '../model/open.ts'
import { selfAttention } from './attention.ts'
import { GraphBuilder, modelOf } from './builder.ts'
import { activated, embedding, head, intermediate, linear, norm, product, update } from './pieces.ts'
import { layerPath, sourceOf } from './weights.ts'

// The graphs that the pipeline runs, one session each. Dimensions in quotes are free: B sequences of T tokens, n tokens.

/** With padding there is another input, position_ids (B, T) int64. */
type PaddingOption = {
  /** @default false */
  readonly padded?: boolean
}

/** input_ids (B, T) int64 → hidden (B, T, d). `padded` matters to models with learned positions only. */
export function embedModel(model: OpenedModel, { padded }: PaddingOption = {}): Model {
  const b = new GraphBuilder()
  const ids = b.input('input_ids', 'int64', ['B', 'T'])
  const given = padded && model.has('positions') ? b.input('position_ids', 'int64', ['B', 'T']) : undefined
  const hidden = embedding(b, sourceOf(model), ids, () => given ?? tokenNumbers(b, ids))
  return finish(b, 'embed', { hidden }, ['B', 'T', model.config.hidden])
}

/** 0 … T-1 for every sequence: ids (B, T) → (T). */
function tokenNumbers(b: GraphBuilder, ids: string): string {
  const [zero, one] = [0, 1].map((i) => b.constant('int64', [], [i]))
  const length = b.node('/positions', 'Gather', [b.node('/positions', 'Shape', [ids]), one!])
  return b.node('/positions', 'Range', [zero!, length, one!])
}

/**
 * The first half of a block: hidden (B, T, d) → residual (B, T, d) = hidden + attention(norm(hidden)) and
 * ffn_in (B, T, d) = norm(residual). Sequences start at position 0 and have no padding, unless `padded`: then there are
 * two more inputs, attention_mask and position_ids (B, T) int64, and outputs count only where the mask is 1.
 * In parallel blocks ffn_in is norm(hidden).
 *
 *     hidden ─┬─ norm ─ attention ─┐
 *             └─────────────────── Add ─┬─ residual
 *                                       └─ norm ─ ffn_in
 */
export function attentionModel(model: OpenedModel, layer: number, options: PaddingOption = {}): Model {
  const b = new GraphBuilder()
  const source = sourceOf(model)
  const shape = ['B', 'T', model.config.hidden]
  const hidden = b.input('hidden', 'float', shape)
  const padding = options.padded
    ? {
        attentionMask: b.input('attention_mask', 'int64', ['B', 'T']),
        positionIds: b.input('position_ids', 'int64', ['B', 'T']),
      }
    : undefined
  const mixed = selfAttention(b, source, layer, norm(b, source, 'attentionNorm', hidden, layer), padding)
  const residual = b.node(layerPath(layer), 'Add', [hidden, update(b, source, 'attentionPostNorm', mixed, layer)])
  const ffn_in = norm(b, source, 'ffnNorm', model.config.parallel ? hidden : residual, layer)
  return finish(b, 'attention', { residual, ffn_in }, shape)
}

/**
 * The FF layer with the model's own weights: x (n, d) → down_in (n, ff), ffn_out (n, d), and update (n, d), what is added to
 * the hidden states: ffn_out behind its norm and scale, where there are such.
 */
export function denseFfnModel(model: OpenedModel, layer: number): Model {
  const b = new GraphBuilder()
  const source = sourceOf(model)
  const down_in = intermediate(b, source, layer, b.input('x', 'float', ['n', model.config.hidden]))
  b.output(named(b, 'down_in', down_in), 'float', ['n', model.config.ff])
  const ffn_out = linear(b, source, 'down', down_in, layer)
  const added = update(b, source, 'ffnPostNorm', ffn_out, layer)
  return finish(b, 'ffn', { ffn_out, update: added }, ['n', model.config.hidden])
}

/** The input of the down projection with the model's own weights: x (n, d) → down_in (n, ff). */
export function gatedIntermediateModel(model: OpenedModel, layer: number): Model {
  const b = new GraphBuilder()
  const down_in = intermediate(b, sourceOf(model), layer, b.input('x', 'float', ['n', model.config.hidden]))
  return finish(b, 'intermediate', { down_in }, ['n', model.config.ff])
}

/** What an FF layer with output ffn_out (n, d) adds to the hidden states: update (n, d). See hasFfnUpdate(). */
export function ffnUpdateModel(model: OpenedModel, layer: number): Model {
  const b = new GraphBuilder()
  const shape = ['n', model.config.hidden]
  const y = update(b, sourceOf(model), 'ffnPostNorm', b.input('ffn_out', 'float', shape), layer)
  return finish(b, 'ffn_update', { update: y }, shape)
}

/** What graphs with weights at run time need to know. */
export type FfForm = Pick<ModelConfig, 'activation' | 'gated' | 'biases'>

/**
 * An FF layer whose weights come with each run: x (n, d), gate (ff, d), up (ff, d), down (d, ff) → y (n, d). Matrices with
 * a bias have another input, e.g. up_bias (ff); without a gate there is no gate.
 */
export function ffnWithWeightsModel(form: FfForm): Model {
  const b = new GraphBuilder()
  const z = intermediateWithWeights(b, form)
  return finish(b, 'ffn_with_weights', { y: productWithWeights(b, form, 'down', z, ['d', 'ff']) }, ['n', 'd'])
}

/** Its first half: x (n, d), gate (ff, d), up (ff, d) → down_in (n, ff). */
export function intermediateWithWeightsModel(form: FfForm): Model {
  const b = new GraphBuilder()
  return finish(b, 'intermediate_with_weights', { down_in: intermediateWithWeights(b, form) }, ['n', 'ff'])
}

/** Its second half: x (n, ff), down (d, ff) → y (n, d). */
export function downWithWeightsModel(form: FfForm): Model {
  const b = new GraphBuilder()
  const y = productWithWeights(b, form, 'down', b.input('x', 'float', ['n', 'ff']), ['d', 'ff'])
  return finish(b, 'down_with_weights', { y }, ['n', 'd'])
}

/** hidden (n, d) after the last block → logits (n, vocab), with the final norm. */
export function headModel(model: OpenedModel): Model {
  const b = new GraphBuilder()
  const logits = head(b, sourceOf(model), b.input('hidden', 'float', ['n', model.config.hidden]))
  return finish(b, 'head', { logits }, ['n', model.config.vocab])
}

function intermediateWithWeights(b: GraphBuilder, form: FfForm): string {
  const x = b.input('x', 'float', ['n', 'd'])
  const gate = form.gated ? productWithWeights(b, form, 'gate', x, ['ff', 'd']) : undefined
  const up = productWithWeights(b, form, 'up', x, ['ff', 'd'])
  return activated(b, '/ffn', form.activation, gate, up)
}

function productWithWeights(
  b: GraphBuilder,
  { biases }: FfForm,
  role: 'gate' | 'up' | 'down',
  x: string,
  shape: readonly [string, string],
): string {
  const operands = [x, b.input(role, 'float', [...shape])]
  if (biases.includes(role)) operands.push(b.input(`${role}_bias`, 'float', [shape[0]]))
  return product(b, `/${role}`, operands)
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
