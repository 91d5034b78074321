import type { TensorRole } from '../model/families.ts'
import { activation, scaled, softcap } from './activation.ts'
import type { GraphBuilder, ValueName } from './builder.ts'
import type { Source } from './weights.ts'
import { layerPath, rowsOf, weight } from './weights.ts'

// What decoders are made of, for the graphs of the pipeline and for those that are exported: operators of opset 21.

/**
 * Rows of the embedding matrix, and of the table of learned positions where there is one: ids and positions int64 of one
 * shape, e.g. (B, T) → (B, T, hidden).
 *
 *     ids ─────── Gather ─ Cast ─ Mul scale ─┐
 *     positions ─ Gather ─ Cast ──────────── Add ─ hidden
 */
export function embedding(b: GraphBuilder, source: Source, ids: ValueName, positions: () => ValueName): ValueName {
  const at = '/model/embed_tokens'
  const { model } = source
  const rows = scaled(b, at, rowsOf(b, at, source, 'embedding', ids), model.config.embeddingScale)
  if (!model.has('positions')) return rows
  const offset = model.family.positionOffset
  const shifted = offset === 0 ? positions() : b.node(at, 'Add', [positions(), b.constant('int64', [], [offset])])
  return b.node(at, 'Add', [rows, rowsOf(b, at, source, 'positions', shifted)])
}

/**
 * x / sqrt(mean(x²) + eps) · weight over the last dimension (Zhang & Sennrich 2019, RMSNorm), in operators of every
 * opset since 18; onnxruntime fuses them into SimplifiedLayerNormalization.
 *
 *     x ─┬─ Pow 2 ─ ReduceMean ─ Add eps ─ Sqrt ─┐
 *        └────────────────────────────────────── Div ─ Mul weight ─ y
 */
export function rmsNorm(b: GraphBuilder, path: string, x: ValueName, scale: ValueName, eps: number): ValueName {
  const square = b.node(path, 'Pow', [x, b.constant('float', [], [2])])
  const mean = b.node(path, 'ReduceMean', [square, b.ints(-1)], { keepdims: { type: 'int', i: 1 } })
  const root = b.node(path, 'Sqrt', [b.node(path, 'Add', [mean, b.constant('float', [], [eps])])])
  return b.node(path, 'Mul', [b.node(path, 'Div', [x, root]), scale])
}

/** The norm of a role over the last dimension, by the kind of the family; x itself where the model has no such norm. */
export function norm(b: GraphBuilder, source: Source, role: TensorRole, x: ValueName, layer?: number): ValueName {
  const { model } = source
  if (!model.has(role)) return x
  const at = layer === undefined ? '/model/norm' : `${layerPath(layer)}/${role}`
  const { norm: kind, normEps, biases } = model.config
  const scale = weight(b, source, role, layer)
  switch (kind) {
    case 'rms':
      return rmsNorm(b, at, x, scale, normEps)
    case 'rms-plus-one':
      return rmsNorm(b, at, x, b.node(at, 'Add', [scale, b.constant('float', [], [1])]), normEps)
    case 'layer': {
      const operands = [x, scale, ...(biases.includes(role) ? [weight(b, source, role, layer, 'bias')] : [])]
      return b.node(at, 'LayerNormalization', operands, {
        axis: { type: 'int', i: -1 },
        epsilon: { type: 'float', f: normEps },
      })
    }
  }
}

/** x (n, in) · Wᵀ + bias → (n, out), with the matrix of `role` as it is stored, and its bias if it has one. */
export function linear(b: GraphBuilder, source: Source, role: TensorRole, x: ValueName, layer?: number): ValueName {
  const { model } = source
  const at = layer === undefined ? `/${role}` : `${layerPath(layer)}/${role}`
  const operands = [x, weight(b, source, role, layer)]
  if (model.config.biases.includes(role)) operands.push(weight(b, source, role, layer, 'bias'))
  return b.node(at, 'Gemm', operands, { transB: { type: 'int', i: Number(!model.isTransposed(role)) } })
}

/** A · Bᵀ (+ C): operands A (n, k), B (m, k) and maybe C, broadcast to (n, m). */
export function product(b: GraphBuilder, path: string, operands: readonly ValueName[]): ValueName {
  return b.node(path, 'Gemm', operands, { transB: { type: 'int', i: 1 } })
}

/**
 * Input of the down projection: x (n, hidden) → (n, ff).
 *
 *     x ─┬─ gate ─ act ─┐          without a gate:  x ─ up ─ act ─ z
 *        └─ up ──────── Mul ─ z
 */
export function intermediate(b: GraphBuilder, source: Source, layer: number, x: ValueName): ValueName {
  const { gated, activation: kind } = source.model.config
  const up = linear(b, source, 'up', x, layer)
  return activated(b, `${layerPath(layer)}/mlp`, kind, gated ? linear(b, source, 'gate', x, layer) : undefined, up)
}

/** act(gate) · up, or act(up) without a gate. */
export function activated(
  b: GraphBuilder,
  path: string,
  kind: Parameters<typeof activation>[2],
  gate: ValueName | undefined,
  up: ValueName,
): ValueName {
  if (gate === undefined) return activation(b, `${path}/act`, kind, up)
  return b.node(path, 'Mul', [activation(b, `${path}/act`, kind, gate), up])
}

/** What attention or FF layer add to the hidden states: their output behind its norm and scale, where there are such. */
export function update(
  b: GraphBuilder,
  source: Source,
  role: 'attentionPostNorm' | 'ffnPostNorm',
  y: ValueName,
  layer: number,
): ValueName {
  const normed = norm(b, source, role, y, layer)
  return scaled(b, `${layerPath(layer)}/${role}`, normed, source.model.config.residualScale)
}

/** Whether what the FF layer adds to the hidden states is something else than its output. */
export function hasFfnUpdate({ has, config }: Source['model']): boolean {
  return has('ffnPostNorm') || config.residualScale !== 1
}

/** Logits of the hidden states after the last block: x (n, hidden) → norm → head → scale, soft cap → (n, vocab). */
export function head(b: GraphBuilder, source: Source, x: ValueName): ValueName {
  const { logitScale, logitSoftcap } = source.model.config
  const logits = linear(b, source, 'head', norm(b, source, 'finalNorm', x))
  return softcap(b, '/head', scaled(b, '/head', logits, logitScale), logitSoftcap)
}
