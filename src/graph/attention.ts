import type { ModelConfig } from '../model/config.ts'
import type { OpenedModel } from '../model/open.ts'
import { inverseFrequencies } from '../model/rope.ts'
import type { AttributeValue } from '../formats/onnx/types.ts'
import type { GraphBuilder, ValueName } from './builder.ts'
import { causalAttention } from './causal.ts'
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
 *     x (n,d) ─┼─ k ─ rotate ─┼─ attention ─ o ─ y
 *              └─ v ──────────┘
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
    const dims = concat(b, `${at}/${role}`, [shape, b.ints(heads * config.headDim)])
    return b.node(`${at}/${role}`, 'Reshape', [y, dims])
  }
  const positions = arange(b, `${at}/positions`, shape)
  const angles = rotaryTables(b, `${at}/rotary`, config, positions)
  const ids = padding?.positionIds ?? b.node(`${at}/positions`, 'Expand', [positions, shape])
  const rotate = (role: 'query' | 'key', heads: number): ValueName =>
    b.node(`${at}/${role}`, 'RotaryEmbedding', [project(role, heads), ...angles, ids], { num_heads: int(heads) })
  const [q, k, v] = [rotate('query', config.heads), rotate('key', config.kvHeads), project('value', config.kvHeads)]
  const mask = visible(b, `${at}/mask`, config, positions, padding)
  const mixed = mask
    ? maskedAttention(b, at, config, [q, k, v, mask])
    : causalAttention(b, at, config, { q, k, v, positions, shape })
  const out = linear(b, model, 'attentionOut', mixed, layer)
  return b.node(`${at}/out`, 'Reshape', [out, concat(b, `${at}/out`, [shape, b.ints(config.hidden)])])
}

/** Causal attention where more than causality is masked: operands q, k, v, mask → (B·T, heads·headDim). */
function maskedAttention(
  b: GraphBuilder,
  path: string,
  config: ModelConfig,
  operands: readonly ValueName[],
): ValueName {
  // GroupQueryAttention refuses heads whose size is no multiple of 8, and is no faster.
  const mixed = b.node(path, 'Attention', operands, {
    q_num_heads: int(config.heads),
    kv_num_heads: int(config.kvHeads),
    is_causal: int(1),
  })
  return b.node(path, 'Reshape', [mixed, b.ints(-1, config.heads * config.headDim)])
}

function concat(b: GraphBuilder, path: string, parts: readonly ValueName[]): ValueName {
  return b.node(path, 'Concat', parts, { axis: int(0) })
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
): ValueName | undefined {
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
  return masks.length < 2 ? masks[0] : b.node(path, 'And', masks)
}

/**
 * Lets every query see itself beside the real keys (B, 1, 1, T): a padding token would otherwise see nothing, and the
 * softmax over nothing is NaN, which 0 · NaN would carry into the real tokens of the next block.
 */
function withSelf(b: GraphBuilder, path: string, positions: ValueName, real: ValueName): ValueName {
  const column = b.node(path, 'Unsqueeze', [positions, b.ints(1)])
  return b.node(path, 'Or', [real, b.node(path, 'Equal', [column, positions])])
}
