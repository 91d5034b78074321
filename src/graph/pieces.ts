import type { TensorRole } from '../model/families.ts'
import type { OpenedModel } from '../model/open.ts'
import { activation } from './activation.ts'
import type { GraphBuilder, ValueName } from './builder.ts'
import { castToFloat, layerPath, storedWeight, weight } from './weights.ts'

/**
 * Rows of the embedding matrix: ids (B, T) int64 → (B, T, hidden). Gathers before the Cast, so that a half-precision
 * table is mapped and never widened as a whole.
 *
 *     ids ── Gather ── Cast ── hidden
 */
export function embedding(b: GraphBuilder, model: OpenedModel, ids: ValueName): ValueName {
  const at = '/model/embed_tokens'
  const rows = b.node(at, 'Gather', [storedWeight(b, model, 'embedding'), ids])
  return model.tensor('embedding').dtype === 'F32' ? rows : castToFloat(b, at, rows)
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

/** rmsNorm with the weight of `role`. */
export function norm(b: GraphBuilder, model: OpenedModel, role: TensorRole, x: ValueName, layer?: number): ValueName {
  const at = layer === undefined ? '/model/norm' : `${layerPath(layer)}/${role}`
  return rmsNorm(b, at, x, weight(b, model, role, layer), model.config.normEps)
}

/** x (n, in) · Wᵀ + bias → (n, out), with the matrix (out, in) of `role` as it is stored, and its bias if it has one. */
export function linear(b: GraphBuilder, model: OpenedModel, role: TensorRole, x: ValueName, layer?: number): ValueName {
  const at = layer === undefined ? `/${role}` : `${layerPath(layer)}/${role}`
  const operands = [x, weight(b, model, role, layer)]
  if (model.config.biases.includes(role)) operands.push(weight(b, model, role, layer, 'bias'))
  return product(b, at, operands)
}

/** A · Bᵀ (+ C): operands A (n, k), B (m, k) and maybe C, broadcast to (n, m). */
export function product(b: GraphBuilder, path: string, operands: readonly ValueName[]): ValueName {
  return b.node(path, 'Gemm', operands, { transB: { type: 'int', i: 1 } })
}

/**
 * Input of the down projection: x (n, hidden) → (n, ff).
 *
 *     x ─┬─ gate ─ act ─┐
 *        └─ up ──────── Mul ─ z
 */
export function gatedIntermediate(b: GraphBuilder, model: OpenedModel, layer: number, x: ValueName): ValueName {
  const at = `${layerPath(layer)}/mlp`
  const gate = activation(b, `${at}/act`, model.config.activation, linear(b, model, 'gate', x, layer))
  return b.node(at, 'Mul', [gate, linear(b, model, 'up', x, layer)])
}

/** Logits of the hidden states after the last block: x (n, hidden) → norm → head → (n, vocab). */
export function head(b: GraphBuilder, model: OpenedModel, x: ValueName): ValueName {
  return linear(b, model, 'head', norm(b, model, 'finalNorm', x))
}
