import type { AttributeValue } from '../formats/onnx/types.ts'
import type { ModelConfig } from '../model/config.ts'
import { windowOf } from '../model/layer-kinds.ts'
import { softcap } from './activation.ts'
import type { GraphBuilder, ValueName } from './builder.ts'
import { causalAttention } from './causal.ts'
import { linear } from './pieces.ts'
import { projections } from './projections.ts'
import { rotaryAngles } from './rotary.ts'
import type { Source } from './weights.ts'
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
  source: Source,
  layer: number,
  x: ValueName,
  padding?: Padding,
): ValueName {
  const { config } = source.model
  const at = `${layerPath(layer)}/self_attn`
  const shape = b.node(at, 'Shape', [x], { start: int(0), end: int(2) }) // [B, T]
  const projected = projections(b, source, layer, b.node(at, 'Reshape', [x, b.ints(-1, config.hidden)]))
  const bySequence = (role: 'query' | 'key' | 'value', heads: number): ValueName => {
    const dims = concat(b, `${at}/${role}`, [shape, b.ints(heads * config.headDim)])
    return b.node(`${at}/${role}`, 'Reshape', [projected[role], dims])
  }
  const positions = arange(b, `${at}/positions`, shape)
  const rotate = rotation(b, at, config, layer, { positions, shape, padding })
  const q = rotate('query', config.heads, bySequence('query', config.heads))
  const k = rotate('key', config.kvHeads, bySequence('key', config.kvHeads))
  const v = bySequence('value', config.kvHeads)
  const mask = visible(b, `${at}/mask`, windowOf(config, layer), positions, padding)
  const mixed = mask
    ? maskedAttention(b, at, config, { q, k, v, mask, positions, shape })
    : causalAttention(b, at, config, { q, k, v, positions, shape })
  const out = linear(b, source, 'attentionOut', mixed, layer)
  return b.node(`${at}/out`, 'Reshape', [out, concat(b, `${at}/out`, [shape, b.ints(config.hidden)])])
}

type Rotate = (role: 'query' | 'key', heads: number, x: ValueName) => ValueName

/** What turns queries and keys (B, T, heads · headDim) by the angles of their positions; nothing, in some layers. */
function rotation(
  b: GraphBuilder,
  path: string,
  config: ModelConfig,
  layer: number,
  { positions, shape, padding }: { positions: ValueName; shape: ValueName; padding: Padding | undefined },
): Rotate {
  const isLocal = config.localRope !== null && windowOf(config, layer) !== null
  const rope = isLocal ? config.localRope : config.rope
  if (!rope || config.noRopeLayers.includes(layer)) return (_, __, x) => x
  const at = `${path}/rotary`
  const length = (): ValueName =>
    padding
      ? b.node(at, 'Add', [b.node(at, 'ReduceMax', [padding.positionIds], { keepdims: int(0) }), one(b)])
      : b.node(at, 'Gather', [shape, one(b)])
  const { cos, sin } = rotaryAngles(b, at, { rope, dim: config.rotaryDim }, positions, length)
  const ids = padding?.positionIds ?? b.node(`${path}/positions`, 'Expand', [positions, shape])
  const part = config.rotaryDim < config.headDim ? { rotary_embedding_dim: int(config.rotaryDim) } : {}
  return (role, heads, x) =>
    b.node(`${path}/${role}`, 'RotaryEmbedding', [x, cos, sin, ids], { num_heads: int(heads), ...part })
}

/**
 * Causal attention where more than causality is masked: q (B, T, heads · headDim), k and v (B, T, kvHeads · headDim), mask
 * → (B · T, heads · headDim). Scores that are capped are capped before they are masked, which Attention-23 does the
 * other way round.
 */
function maskedAttention(
  b: GraphBuilder,
  path: string,
  config: ModelConfig,
  operands: Record<'q' | 'k' | 'v' | 'mask' | 'positions' | 'shape', ValueName>,
): ValueName {
  if (config.attentionSoftcap !== null) return cappedAttention(b, path, config, operands)
  const { q, k, v, mask } = operands
  // GroupQueryAttention refuses heads whose size is no multiple of 8, and is no faster.
  const mixed = b.node(path, 'Attention', [q, k, v, mask], {
    q_num_heads: int(config.heads),
    kv_num_heads: int(config.kvHeads),
    is_causal: int(1),
    scale: { type: 'float', f: config.attentionScale },
  })
  return b.node(path, 'Reshape', [mixed, b.ints(-1, config.heads * config.headDim)])
}

/** maskedAttention() in plain operators: (B, kvHeads, heads / kvHeads, T, headDim) against (B, kvHeads, 1, T, headDim). */
function cappedAttention(
  b: GraphBuilder,
  path: string,
  { heads, kvHeads, headDim, attentionScale, attentionSoftcap }: ModelConfig,
  { q, k, v, mask, positions }: Record<'q' | 'k' | 'v' | 'mask' | 'positions' | 'shape', ValueName>,
): ValueName {
  const at = (op: string, inputs: ValueName[], attributes: Record<string, AttributeValue> = {}): ValueName =>
    b.node(`${path}/capped`, op, inputs, attributes)
  const split = (x: ValueName, dims: number[], ...perm: number[]): ValueName =>
    at('Transpose', [at('Reshape', [x, b.ints(0, 0, ...dims)])], { perm: { type: 'ints', ints: perm } })
  const query = split(q, [kvHeads, heads / kvHeads, headDim], 0, 2, 3, 1, 4)
  const keyT = split(k, [kvHeads, 1, headDim], 0, 2, 3, 4, 1)
  const value = split(v, [kvHeads, 1, headDim], 0, 2, 3, 1, 4)
  const scores = at('Mul', [at('MatMul', [query, keyT]), b.constant('float', [], [attentionScale])])
  const isEarlier = at('LessOrEqual', [positions, at('Unsqueeze', [positions, b.ints(1)])])
  // (T, T), or (B, 1, T, T) with padding, which lacks the dimension of the queries of one key.
  const seen = at('Unsqueeze', [at('Expand', [at('And', [mask, isEarlier]), b.ints(1, 1, 1, 1)]), b.ints(1)])
  const masked = at('Where', [
    seen,
    softcap(b, `${path}/capped`, scores, attentionSoftcap),
    b.constant('float', [], [-1e9]),
  ])
  const mixed = at('MatMul', [at('Softmax', [masked], { axis: int(-1) }), value])
  const back = at('Transpose', [mixed], { perm: { type: 'ints', ints: [0, 3, 1, 2, 4] } })
  return at('Reshape', [back, b.ints(-1, heads * headDim)])
}

function one(b: GraphBuilder): ValueName {
  return b.constant('int64', [], [1])
}

function concat(b: GraphBuilder, path: string, parts: readonly ValueName[]): ValueName {
  return b.node(path, 'Concat', parts, { axis: int(0) })
}

/** 0, 1, … T-1 as int64 (T), from the shape [B, T]. */
function arange(b: GraphBuilder, path: string, shape: ValueName): ValueName {
  const length = b.node(path, 'Gather', [shape, b.constant('int64', [], [1])])
  return b.node(path, 'Range', [b.constant('int64', [], [0]), length, b.constant('int64', [], [1])])
}

/** The mask input of Attention beyond causality: true where a query may look. None when causality is all. */
function visible(
  b: GraphBuilder,
  path: string,
  window: number | null,
  positions: ValueName,
  padding: Padding | undefined,
): ValueName | undefined {
  const masks: ValueName[] = []
  // A query at i sees keys j with i - j < window (transformers counts the query's own key).
  if (window !== null) {
    const i = b.node(`${path}/window`, 'Unsqueeze', [positions, b.ints(1)])
    const distance = b.node(`${path}/window`, 'Sub', [i, positions])
    masks.push(b.node(`${path}/window`, 'Less', [distance, b.constant('int64', [], [window])]))
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
