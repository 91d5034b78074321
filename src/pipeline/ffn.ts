import { hasFfnUpdate } from '../graph/pieces.ts'
import { unpackExpert } from '../mixture/expert.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import type { ModelConfig } from '../model/config.ts'
import type { NativeProducts } from '../runtime/native-products.ts'
import type { Tensor } from '../runtime/session.ts'
import type { Engine } from './engine.ts'
import type { PackedFfn, PackedFront } from './jobs.ts'

/**
 * Rows of an FF layer's inputs (rows, in) to rows of what comes out (rows, out): by the processor's matrix units where
 * the native products have them, else by onnxruntime.
 */
export type RowMap = (X: Float32Array, rows: number) => Promise<Float32Array>

/** Weights of an FF layer: gate (where there is one) and up (ff, hidden), down (hidden, ff). */
export type FfWeights = { readonly gate?: Float32Array; readonly up: Float32Array; readonly down: Float32Array }

/** FF inputs → intermediates of the dense gate and up of a layer. */
export async function denseIntermediates(engine: Engine, layer: number): Promise<RowMap> {
  const { hidden: d } = engine.model.config
  const native = nativeOf(engine)
  if (native) {
    const { W: gate } = await engine.dense('gate_proj', layer)
    const { W: up } = await engine.dense('up_proj', layer)
    return async (X, rows) => native.intermediates(X, rows, gate, up)
  }
  const session = await engine.session('intermediate', layer)
  return async (X, rows) => floats((await session.run({ x: matrix(X, rows, d) })).down_in)
}

/** FF inputs → intermediates of a pruned gate and up. */
export async function prunedIntermediates(engine: Engine, layer: number, pruned: PackedFront): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  const gate = pruned.gate && unpackExpert(pruned.gate, ff, d)
  const up = unpackExpert(pruned.up, ff, d)
  const native = nativeOf(engine)
  if (native && gate) return async (X, rows) => native.intermediates(X, rows, gate, up)
  const session = await engine.session('prunedIntermediate')
  const weights = {
    ...(gate ? { gate: matrix(gate, ff, d) } : {}),
    up: matrix(up, ff, d),
    ...biasesOf(engine, layer, ['gate', 'up']),
  }
  return async (X, rows) => floats((await session.run({ x: matrix(X, rows, d), ...weights })).down_in)
}

/** FF inputs → what one expert's pruned FF layer adds to the hidden states. */
export async function prunedFfn(engine: Engine, layer: number, ffn: PackedFfn): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  return ffnWithWeights(engine, layer, {
    ...(ffn.gate ? { gate: unpackExpert(ffn.gate, ff, d) } : {}),
    up: unpackExpert(ffn.up, ff, d),
    down: unpackExpert(ffn.down, d, ff),
  })
}

/** FF inputs → what the FF layer with these weights adds to the hidden states. */
export async function ffnWithWeights(engine: Engine, layer: number, weights: FfWeights): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  const { gate, up, down } = weights
  const native = nativeOf(engine)
  if (native && gate)
    return withUpdate(engine, layer, async (X, rows) =>
      native.linear(native.intermediates(X, rows, gate, up), rows, down),
    )
  const session = await engine.session('prunedFfn')
  const tensors = {
    ...(gate ? { gate: matrix(gate, ff, d) } : {}),
    up: matrix(up, ff, d),
    down: matrix(down, d, ff),
    ...biasesOf(engine, layer, ['gate', 'up', 'down']),
  }
  return withUpdate(engine, layer, async (X, rows) =>
    floats((await session.run({ x: matrix(X, rows, d), ...tensors })).y),
  )
}

/** Intermediates → what one expert's pruned down projection adds to the hidden states. */
export async function prunedDown(engine: Engine, layer: number, down: PackedExpert): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  const W = unpackExpert(down, d, ff)
  const native = nativeOf(engine)
  if (native) return withUpdate(engine, layer, async (Z, rows) => native.linear(Z, rows, W))
  const session = await engine.session('prunedDown')
  const weights = { down: matrix(W, d, ff), ...biasesOf(engine, layer, ['down']) }
  return withUpdate(engine, layer, async (Z, rows) =>
    floats((await session.run({ x: matrix(Z, rows, ff), ...weights })).y),
  )
}

/** The native products know one form of FF layer: down(silu(gate x) · up x) without biases. */
function nativeOf({ native, model }: Engine): NativeProducts | undefined {
  return isNativeForm(model.config) ? native : undefined
}

/** Whether native products can run the FF layers of a model; onnxruntime runs all others. */
export function isNativeForm({ gated, activation, biases }: ModelConfig): boolean {
  return gated && activation === 'silu' && !(['gate', 'up', 'down'] as const).some((role) => biases.includes(role))
}

/** The biases of the dense matrices, which experts share, as inputs of the graphs that take weights. */
function biasesOf(
  { model }: Engine,
  layer: number,
  roles: readonly ('gate' | 'up' | 'down')[],
): Record<string, Tensor> {
  const own = roles.filter((role) => model.has(role) && model.config.biases.includes(role))
  return Object.fromEntries(
    own.map((role) => {
      const data = model.weights.readF32(model.tensorName(role, layer, 'bias'))
      return [`${role}_bias`, { type: 'float32', dims: [data.length], data }]
    }),
  )
}

/** Puts the norm and the scale behind an FF layer, where a model has such. */
async function withUpdate(engine: Engine, layer: number, map: RowMap): Promise<RowMap> {
  if (!hasFfnUpdate(engine.model)) return map
  const { hidden: d } = engine.model.config
  const session = await engine.session('ffnUpdate', layer)
  return async (X, rows) => floats((await session.run({ ffn_out: matrix(await map(X, rows), rows, d) })).update)
}

/** A float tensor (rows, cols). */
export function matrix(data: Float32Array, rows: number, cols: number): Tensor {
  return { type: 'float32', dims: [rows, cols], data }
}

/** The numbers of a float output. */
export function floats(tensor: Tensor | undefined): Float32Array {
  return tensor!.data as Float32Array
}
