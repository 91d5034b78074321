import type { ModelConfig } from '../model/config.ts'
import type { OpenedModel } from '../model/open.ts'
import { inverseFrequencies } from '../model/rope.ts'
import type { AttributeValue } from '../formats/onnx/types.ts'
import type { GraphBuilder, ValueName } from './builder.ts'
import { linear } from './pieces.ts'
import { layerPath } from './weights.ts'

/** Left-padded batches: which tokens are real, and the position of each; both (B, T) int64. */
export type Padding = { readonly attentionMask: ValueName; readonly positionIds: ValueName }

const int = (i: number): AttributeValue => ({ type: 'int', i })

/**
 * Causal self-attention over whole sequences, no past: x (B, T, hidden), already normed → (B, T, hidden).
 * Positions are 0..T-1 unless `padding` gives them.
 *
 *              ┌─ q ─ rotate ─┐
 *     x (n,d) ─┼─ k ─ rotate ─┼─ Attention ─ o ─ y
 *              └─ v ──────────┘      └ mask: only for windows and padding
 *
 * Attention-23 and not GroupQueryAttention: the latter refuses heads whose size is no multiple of 8, and was no faster
 * (both within 5 % of each other, MultiHeadAttention and plain MatMul + Softmax behind them).
 */
export function selfAttention(
  b: GraphBuilder,
  model: OpenedModel,
  layer: number,
  x: ValueName,
  padding?: Padding,
): ValueName {
  const { config } = model
  const at = `${layerPath(layer)}/self_attn`
  const shape = b.node(at, 'Shape', [x], { start: int(0), end: int(2) }) // [B, T]
  const rows = b.node(at, 'Reshape', [x, b.ints(-1, config.hidden)])
  const project = (role: 'query' | 'key' | 'value', heads: number): ValueName => {
    const y = linear(b, model, role, rows, layer)
    const dims = b.node(`${at}/${role}`, 'Concat', [shape, b.ints(heads * config.headDim)], { axis: int(0) })
    return b.node(`${at}/${role}`, 'Reshape', [y, dims])
  }
  const positions = arange(b, `${at}/positions`, shape)
  const angles = rotaryTables(b, `${at}/rotary`, config, positions)
  const ids = padding?.positionIds ?? b.node(`${at}/positions`, 'Expand', [positions, shape])
  const rotate = (role: 'query' | 'key', heads: number): ValueName =>
    b.node(`${at}/${role}`, 'RotaryEmbedding', [project(role, heads), ...angles, ids], { num_heads: int(heads) })
  const mask = visible(b, `${at}/mask`, config, positions, padding)
  const mixed = b.node(
    at,
    'Attention',
    [rotate('query', config.heads), rotate('key', config.kvHeads), project('value', config.kvHeads), ...mask],
    { q_num_heads: int(config.heads), kv_num_heads: int(config.kvHeads), is_causal: int(1) },
  )
  const out = linear(
    b,
    model,
    'attentionOut',
    b.node(at, 'Reshape', [mixed, b.ints(-1, config.heads * config.headDim)]),
    layer,
  )
  return b.node(`${at}/out`, 'Reshape', [
    out,
    b.node(`${at}/out`, 'Concat', [shape, b.ints(config.hidden)], { axis: int(0) }),
  ])
}

/** 0, 1, … T-1 as int64 (T), from the shape [B, T]. */
function arange(b: GraphBuilder, path: string, shape: ValueName): ValueName {
  const length = b.node(path, 'Gather', [shape, b.constant('int64', [], [1])])
  return b.node(path, 'Range', [b.constant('int64', [], [0]), length, b.constant('int64', [], [1])])
}

/**
 * Cosines and sines of every position, (T, headDim / 2) each. Computed in the graph: T · headDim / 2 of them are nothing
 * beside the products, and tables up to the longest position would be tens of MB in every graph.
 *
 *     positions (T) ─ Cast ─ Unsqueeze ─ Mul 1/wavelengths ─┬─ Cos
 *                                                           └─ Sin
 */
function rotaryTables(b: GraphBuilder, path: string, config: ModelConfig, positions: ValueName): ValueName[] {
  const frequencies = inverseFrequencies(config.rope, config.headDim)
  const column = b.node(path, 'Unsqueeze', [b.node(path, 'Cast', [positions], { to: int(1) }), b.ints(-1)])
  const angles = b.node(path, 'Mul', [column, b.constant('float', [1, frequencies.length], [...frequencies])])
  return [b.node(path, 'Cos', [angles]), b.node(path, 'Sin', [angles])]
}

/** The mask input of Attention beyond causality: true where a query may look. None when causality is all. */
function visible(
  b: GraphBuilder,
  path: string,
  config: ModelConfig,
  positions: ValueName,
  padding: Padding | undefined,
): ValueName[] {
  const masks: ValueName[] = []
  // A query at i sees keys j with i - j < window (transformers counts the query's own key).
  if (config.slidingWindow !== null) {
    const i = b.node(`${path}/window`, 'Unsqueeze', [positions, b.ints(1)])
    const distance = b.node(`${path}/window`, 'Sub', [i, positions])
    masks.push(b.node(`${path}/window`, 'Less', [distance, b.constant('int64', [], [config.slidingWindow])]))
  }
  if (padding) {
    const real = b.node(`${path}/padding`, 'Cast', [padding.attentionMask], { to: int(9) })
    masks.push(withSelf(b, `${path}/padding`, positions, b.node(`${path}/padding`, 'Unsqueeze', [real, b.ints(1, 2)])))
  }
  return masks.length < 2 ? masks : [b.node(path, 'And', masks)]
}

/**
 * Lets every query see itself beside the real keys (B, 1, 1, T): a padding token would otherwise see nothing, and the
 * softmax over nothing is NaN, which 0 · NaN would carry into the real tokens of the next block.
 */
function withSelf(b: GraphBuilder, path: string, positions: ValueName, real: ValueName): ValueName {
  const column = b.node(path, 'Unsqueeze', [positions, b.ints(1)])
  return b.node(path, 'Or', [real, b.node(path, 'Equal', [column, positions])])
}
