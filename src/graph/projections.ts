import type { AttributeValue } from '../formats/onnx/types.ts'
import type { ModelConfig } from '../model/config.ts'
import type { GraphBuilder, ValueName } from './builder.ts'
import { linear, norm } from './pieces.ts'
import type { Source } from './weights.ts'
import { layerPath } from './weights.ts'

/** Rows of tokens: query (n, heads · headDim), key and value (n, kvHeads · headDim). */
export type Projected = { readonly query: ValueName; readonly key: ValueName; readonly value: ValueName }

const axis = (i: number): Record<string, AttributeValue> => ({ axis: { type: 'int', i } })

/**
 * Queries, keys and values of x (n, hidden), not yet rotated, with the norms of queries and keys where there are such.
 *
 *     x ─┬─ query ─ norm         x ─ qkv ─ Split ─┬─ …
 *        ├─ key ─── norm                          ├─ …
 *        └─ value                                 └─ …
 */
export function projections(b: GraphBuilder, source: Source, layer: number, x: ValueName): Projected {
  const { model } = source
  const { query, key, value } = model.has('qkv')
    ? split(b, source, layer, linear(b, source, 'qkv', x, layer))
    : {
        query: linear(b, source, 'query', x, layer),
        key: linear(b, source, 'key', x, layer),
        value: linear(b, source, 'value', x, layer),
      }
  return {
    query: headNorm(b, source, 'queryNorm', query, layer),
    key: headNorm(b, source, 'keyNorm', key, layer),
    value,
  }
}

/** The columns of one fused product (n, (heads + 2 kvHeads) · headDim). */
function split(b: GraphBuilder, { model }: Source, layer: number, fused: ValueName): Projected {
  const at = `${layerPath(layer)}/qkv`
  const { heads, kvHeads, headDim } = model.config
  const [q, kv] = [heads * headDim, kvHeads * headDim]
  if (model.family.qkvOrder === 'joined') {
    const [query, key, value] = b.nodeOutputs(at, 'Split', [fused, b.ints(q, kv, kv)], axis(1), { outputs: 3 })
    return { query: query!, key: key!, value: value! }
  }
  // For each key head: the queries that use it, the key, the value.
  const grouped = b.node(at, 'Reshape', [fused, b.ints(-1, kvHeads, heads / kvHeads + 2, headDim)])
  const sizes = b.ints(heads / kvHeads, 1, 1)
  const parts = b.nodeOutputs(at, 'Split', [grouped, sizes], axis(2), { outputs: 3 })
  const [query, key, value] = [q, kv, kv].map((width, i) => b.node(at, 'Reshape', [parts[i]!, b.ints(-1, width)]))
  return { query: query!, key: key!, value: value! }
}

/** A norm over every head, or over all heads of a token. */
function headNorm(
  b: GraphBuilder,
  source: Source,
  role: 'queryNorm' | 'keyNorm',
  x: ValueName,
  layer: number,
): ValueName {
  const { model } = source
  if (!model.has(role) || model.family.qkNorm === 'all') return norm(b, source, role, x, layer)
  const at = `${layerPath(layer)}/${role}`
  const heads = b.node(at, 'Reshape', [x, b.ints(-1, headsOf(role, model.config), model.config.headDim)])
  const width = headsOf(role, model.config) * model.config.headDim
  return b.node(at, 'Reshape', [norm(b, source, role, heads, layer), b.ints(-1, width)])
}

function headsOf(role: 'queryNorm' | 'keyNorm', { heads, kvHeads }: ModelConfig): number {
  return role === 'queryNorm' ? heads : kvHeads
}
