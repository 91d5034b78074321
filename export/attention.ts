import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import { softcap } from '../src/graph/activation.ts'
import { linear } from '../src/graph/pieces.ts'
import { projections } from '../src/graph/projections.ts'
import type { Source } from '../src/graph/weights.ts'
import type { ModelConfig } from '../src/model/config.ts'
import type { AttributeValue } from '../src/formats/onnx/types.ts'
import type { Attributes } from './attributes.ts'
import { int, ints } from './attributes.ts'
import type { Positions } from './positions.ts'

const CONTRIB = { domain: 'com.microsoft' }

/** GroupQueryAttention of onnxruntime takes only heads of a multiple of 8; others go through standard operators. */
export function fusedAttention(config: ModelConfig): boolean {
  return config.headDim % 8 === 0
}

/**
 * One attention layer with its cache: x (T, hidden), T = B · S → (T, hidden); reads `past_key_values.{i}.key|value` and
 * writes `present.{i}.key|value`, (B, kvHeads, keys, headDim).
 *
 *   x ── query ── (B, S, heads · headDim) ── RotaryEmbedding ──┐
 *   x ── key ──── (B, S, kvHeads · headDim) ── RotaryEmbedding ┼ attention over past + new ── (T, heads · headDim) ── out
 *   x ── value ── (B, S, kvHeads · headDim) ───────────────────┘
 */
export function attention(
  b: GraphBuilder,
  source: Source,
  layer: number,
  x: ValueName,
  positions: Positions,
): ValueName {
  const path = `/model/layers.${layer}/attention`
  const { config } = source.model
  const { heads, kvHeads, headDim, rotaryDim } = config
  const projected = projections(b, source, layer, x)
  const rows = (name: 'query' | 'key' | 'value', count: number): ValueName => {
    const shape = b.node(path, 'Concat', [positions.tokenShape, b.ints(count * headDim)], {
      axis: int(0),
    })
    return b.node(`${path}/${name}`, 'Reshape', [projected[name], shape])
  }
  const angles = positions.angles(layer)
  const rotated = (name: 'query' | 'key', count: number): ValueName => {
    if (!angles) return rows(name, count)
    const inputs = [rows(name, count), positions.rowIds, angles.cos, angles.sin]
    const part: Attributes = rotaryDim < headDim ? { num_heads: int(count), rotary_embedding_dim: int(rotaryDim) } : {}
    const y = b.node(`${path}/${name}`, 'RotaryEmbedding', inputs, part, CONTRIB)
    b.declare(y, 'float', ['batch', 'sequence', count * headDim])
    return y
  }
  const input: AttentionInput = {
    path,
    query: rotated('query', heads),
    key: rotated('key', kvHeads),
    value: rows('value', kvHeads),
    past: [`past_key_values.${layer}.key`, `past_key_values.${layer}.value`],
    present: [`present.${layer}.key`, `present.${layer}.value`],
    positions,
    bias: positions.bias(layer),
  }
  const y = fusedAttention(config) ? groupQueryAttention(b, config, input) : plainAttention(b, config, input)
  return linear(b, source, 'attentionOut', b.node(path, 'Reshape', [y, b.ints(-1, heads * headDim)]), layer)
}

type AttentionInput = {
  readonly path: string
  readonly query: ValueName // (B, S, heads · headDim), rotated
  readonly key: ValueName // (B, S, kvHeads · headDim), rotated
  readonly value: ValueName // (B, S, kvHeads · headDim)
  readonly past: readonly [ValueName, ValueName]
  readonly present: readonly [ValueName, ValueName]
  readonly positions: Positions
  readonly bias: ValueName
}

function groupQueryAttention(b: GraphBuilder, config: ModelConfig, input: AttentionInput): ValueName {
  const { heads, kvHeads, headDim } = config
  const { query, key, value, past, present, positions, path, bias } = input
  const y = `${path}/GroupQueryAttention/output_0`
  const { keysLessOne, keys } = positions
  b.node(
    path,
    'GroupQueryAttention',
    [query, key, value, ...past, keysLessOne, keys, '', '', '', bias],
    { num_heads: int(heads), kv_num_heads: int(kvHeads), ...scoreAttributes(config) },
    { ...CONTRIB, outputs: [y, ...present] },
  )
  b.declare(y, 'float', ['batch', 'sequence', heads * headDim])
  return y
}

const float = (f: number): AttributeValue => ({ type: 'float', f })

/** What differs from the usual scores, q · k / √headDim. */
function scoreAttributes({ headDim, attentionScale, attentionSoftcap }: ModelConfig): Attributes {
  return {
    ...(attentionScale === headDim ** -0.5 ? {} : { scale: float(attentionScale) }),
    ...(attentionSoftcap === null ? {} : { softcap: float(attentionSoftcap) }),
  }
}

/**
 * The same in standard operators, heads of one key side by side:
 *
 *   query ── (B, kvHeads, heads / kvHeads, S, headDim) ── · keyᵀ ── · scale + bias ── Softmax ── · value
 */
function plainAttention(b: GraphBuilder, config: ModelConfig, input: AttentionInput): ValueName {
  const { heads, kvHeads, headDim } = config
  const { path, past, present, positions } = input
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node(path, op, inputs, attributes)
  const split = (value: ValueName, ...sizes: number[]): ValueName =>
    at('Reshape', [value, at('Concat', [positions.tokenShape, b.ints(...sizes)], onAxis(0))])
  const cached = (value: ValueName, k: 0 | 1): ValueName => {
    const fresh = at('Transpose', [split(value, kvHeads, headDim)], permuted(0, 2, 1, 3))
    b.node(`${path}/${k}`, 'Concat', [past[k], fresh], onAxis(2), { outputs: [present[k]] })
    return at('Unsqueeze', [present[k], b.ints(2)]) // (B, kvHeads, 1, keys, headDim)
  }
  const query = at('Transpose', [split(input.query, kvHeads, heads / kvHeads, headDim)], permuted(0, 2, 3, 1, 4))
  const keyT = at('Transpose', [cached(input.key, 0)], permuted(0, 1, 2, 4, 3))
  const scores = at('Mul', [at('MatMul', [query, keyT]), b.constant('float', [], [config.attentionScale])])
  const capped = softcap(b, path, scores, config.attentionSoftcap)
  const masked = at('Add', [capped, at('Unsqueeze', [input.bias, b.ints(1)])])
  const y = at('MatMul', [at('Softmax', [masked], onAxis(-1)), cached(input.value, 1)])
  return at('Transpose', [y], permuted(0, 3, 1, 2, 4))
}

function permuted(...order: number[]): Attributes {
  return { perm: ints(...order) }
}

function onAxis(axis: number): Attributes {
  return { axis: int(axis) }
}
