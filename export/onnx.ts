import type { FunctionDef, Model, StringEntry } from '../src/formats/onnx/types.ts'
import type { ValueName } from '../src/graph/builder.ts'
import { GraphBuilder, modelOf } from '../src/graph/builder.ts'
import { embedding, head, norm, update } from '../src/graph/pieces.ts'
import type { Source } from '../src/graph/weights.ts'
import { sourceOf } from '../src/graph/weights.ts'
import type { ValueForm } from '../src/mixture/values.ts'
import { gridOf } from '../src/mixture/values.ts'
import type { ModelConfig } from '../src/model/config.ts'
import type { OpenedModel } from '../src/model/open.ts'
import { ON_AXIS_0 } from './attributes.ts'
import { attention, fusedAttention } from './attention.ts'
import type { FfMatrix, SparseForm } from './feed-forward.ts'
import { feedForward } from './feed-forward.ts'
import type { StockBody } from './functions.ts'
import { sparseExpertMatMul, sparseExpertMatMulInteger } from './functions.ts'
import type { Positions } from './positions.ts'
import { positions } from './positions.ts'
import type { PlaceOf } from './weights.ts'

/** Value (tokens, hidden) between the last block and the final norm, batch and sequence flattened. */
export const FINAL_HIDDEN = '/model/final_hidden'

/** The sparse part of a decoder graph; without it every FF matrix is dense. */
export type MixtureGraph = {
  /** Of every layer. */
  readonly experts: readonly number[]
  readonly splitRouter: boolean
  readonly stockBody: StockBody
  readonly values: ValueForm
  /** metadata_props of the nodes of one FF layer. */
  readonly metadata: (layer: number, node: FfMatrix | 'router' | 'downRouter') => StringEntry[]
}

export type DecoderOptions = {
  readonly model: OpenedModel
  readonly place: PlaceOf
  readonly mixture?: MixtureGraph
  /** metadata_props of the model. */
  readonly metadata: StringEntry[]
  readonly toolVersion: string
}

/**
 * The whole decoder: `input_ids` (batch, sequence), `attention_mask` (batch, past + sequence), both int64, and
 * `past_key_values.{i}.key|value` (batch, kvHeads, past, headDim) → `logits` (batch, sequence, vocab) and
 * `present.{i}.key|value`. Padding may stand on either side; positions follow from the mask. Weights are external data.
 */
export function decoderModel(options: DecoderOptions): Model {
  const { model, place, mixture } = options
  const { config } = model
  const b = new GraphBuilder()
  declareInputs(b, config)
  const source: Source = { model, place }
  const shared = positions(b, config, !fusedAttention(config))
  const ids = b.node('/model/embed', 'Reshape', ['input_ids', b.ints(-1)])
  let hidden = embedding(b, source, ids, () => shared.flat)
  const onlyExpert = mixture?.experts.includes(1) ? b.node('/model', 'Expand', [b.ints(0), tokenCount(b)]) : undefined
  for (let layer = 0; layer < config.layers; layer++)
    hidden = decoderBlock(b, options, layer, hidden, shared, onlyExpert)
  const logits = head(b, source, hidden)
  const shape = b.node('/lm_head', 'Concat', [shared.tokenShape, b.ints(config.vocab)], ON_AXIS_0)
  b.node('/lm_head', 'Reshape', [logits, shape], {}, { outputs: ['logits'] })
  b.output('logits', 'float', ['batch', 'sequence', config.vocab])
  for (const name of cacheNames('present', config)) b.output(name, 'float', cacheShape(config, 'total_sequence'))
  return modelOf(b.graph('decoder'), {
    functions: mixture ? [productFunction(mixture)] : [],
    metadata: options.metadata,
    producerVersion: options.toolVersion,
  })
}

/** The one function that all sparse products of the graph call. */
function productFunction({ stockBody, experts, values }: MixtureGraph): FunctionDef {
  const grid = gridOf(values)
  // The stream body does not depend on the number; the fold body does, and is refused where layers differ.
  const most = Math.max(...experts)
  return grid ? sparseExpertMatMulInteger(stockBody, most, grid) : sparseExpertMatMul(stockBody, most)
}

/** The dense model as a graph over its own weight files; its external data lie in `model.dataFolder`. */
export function denseDecoderModel(model: OpenedModel, toolVersion: string): Model {
  const metadata = [{ key: 'spexpand.final_hidden', value: FINAL_HIDDEN }]
  return decoderModel({ ...sourceOf(model), metadata, toolVersion })
}

function declareInputs(b: GraphBuilder, config: ModelConfig): void {
  b.input('input_ids', 'int64', ['batch', 'sequence'])
  b.input('attention_mask', 'int64', ['batch', 'total_sequence'])
  for (const name of cacheNames('past_key_values', config)) b.input(name, 'float', cacheShape(config, 'past_sequence'))
}

function cacheNames(prefix: string, config: ModelConfig): string[] {
  const layers = Array.from({ length: config.layers }, (_, layer) => layer)
  return layers.flatMap((layer) => [`${prefix}.${layer}.key`, `${prefix}.${layer}.value`])
}

function cacheShape(config: ModelConfig, keys: string): (number | string)[] {
  return ['batch', config.kvHeads, keys, config.headDim]
}

function tokenCount(b: GraphBuilder): ValueName {
  return b.node('/model', 'Reshape', [b.node('/model', 'Size', ['input_ids']), b.ints(1)])
}

/** hidden ── norm ── attention ── + ── norm ── FF ── +; in parallel blocks the FF layer hangs on hidden. */
function decoderBlock(
  b: GraphBuilder,
  { model, place, mixture }: DecoderOptions,
  layer: number,
  hidden: ValueName,
  shared: Positions,
  onlyExpert: ValueName | undefined,
): ValueName {
  const { config } = model
  const source: Source = { model, place }
  const path = `/model/layers.${layer}`
  const attended = attention(b, source, layer, norm(b, source, 'attentionNorm', hidden, layer), shared)
  const change = update(b, source, 'attentionPostNorm', attended, layer)
  const residual = b.node(`${path}/attention_residual`, 'Add', [hidden, change])
  const ffnIn = norm(b, source, 'ffnNorm', config.parallel ? hidden : residual, layer)
  const ffnOut = feedForward(b, source, ffnIn, {
    path: `${path}/mlp`,
    layer,
    ...(mixture ? { sparse: sparseForm(mixture, ffNames(model, layer), layer, onlyExpert) } : {}),
  })
  const isLast = layer === config.layers - 1
  const inputs = [residual, update(b, source, 'ffnPostNorm', ffnOut, layer)]
  return b.node(`${path}/residual`, 'Add', inputs, {}, isLast ? { outputs: [FINAL_HIDDEN] } : {})
}

/** Base names of the FF matrices of a layer; without a gate that name is not used. */
export function ffNames(model: OpenedModel, layer: number): Record<FfMatrix, string> {
  const base = (role: FfMatrix): string => model.tensorName(role, layer).replace(/\.weight$/, '')
  return { gate: base(model.config.gated ? 'gate' : 'up'), up: base('up'), down: base('down') }
}

/** Base names of the routers beside the FF matrices: '….mlp.router' and '….mlp.down_proj.router'. */
export function routerNames(names: Readonly<Record<FfMatrix, string>>): { router: string; downRouter: string } {
  return { router: names.up.replace(/\.[^.]+$/, '.router'), downRouter: `${names.down}.router` }
}

function sparseForm(
  mixture: MixtureGraph,
  names: Readonly<Record<FfMatrix, string>>,
  layer: number,
  onlyExpert: ValueName | undefined,
): SparseForm {
  const { router, downRouter } = routerNames(names)
  return {
    names,
    values: mixture.values,
    metadata: (node) => mixture.metadata(layer, node),
    ...(mixture.experts[layer] === 1 ? { onlyExpert: onlyExpert! } : { router }),
    ...(mixture.splitRouter && mixture.experts[layer]! > 1 ? { downRouter } : {}),
  }
}
