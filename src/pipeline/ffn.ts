import { unpackExpert } from '../mixture/expert.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import type { Tensor } from '../runtime/session.ts'
import type { Engine } from './engine.ts'
import type { PackedFfn } from './jobs.ts'

/**
 * Rows of an FF layer's inputs (rows, in) to rows of what comes out (rows, out): by the processor's matrix units where
 * the native products have them, else by onnxruntime.
 */
export type RowMap = (X: Float32Array, rows: number) => Promise<Float32Array>

/** FF inputs → intermediates of the dense gate and up of a layer. */
export async function denseIntermediates(engine: Engine, layer: number): Promise<RowMap> {
  const { hidden: d } = engine.model.config
  const { native } = engine
  if (native) {
    const { W: gate } = await engine.dense('gate_proj', layer)
    const { W: up } = await engine.dense('up_proj', layer)
    return async (X, rows) => native.intermediates(X, rows, gate, up)
  }
  const session = await engine.session('intermediate', layer)
  return async (X, rows) => floats((await session.run({ x: matrix(X, rows, d) })).down_in)
}

/** FF inputs → intermediates of a pruned gate and up. */
export async function prunedIntermediates(engine: Engine, pruned: Pick<PackedFfn, 'gate' | 'up'>): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  const gate = unpackExpert(pruned.gate, ff, d)
  const up = unpackExpert(pruned.up, ff, d)
  const { native } = engine
  if (native) return async (X, rows) => native.intermediates(X, rows, gate, up)
  const session = await engine.session('prunedIntermediate')
  const weights = { gate: matrix(gate, ff, d), up: matrix(up, ff, d) }
  return async (X, rows) => floats((await session.run({ x: matrix(X, rows, d), ...weights })).down_in)
}

/** FF inputs → outputs of one expert's pruned FF layer. */
export async function prunedFfn(engine: Engine, ffn: PackedFfn): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  return ffnWithWeights(
    engine,
    unpackExpert(ffn.gate, ff, d),
    unpackExpert(ffn.up, ff, d),
    unpackExpert(ffn.down, d, ff),
  )
}

/** FF inputs → outputs of the FF layer with these weights: gate and up (ff, hidden), down (hidden, ff). */
export async function ffnWithWeights(
  engine: Engine,
  gate: Float32Array,
  up: Float32Array,
  down: Float32Array,
): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  const { native } = engine
  if (native) return async (X, rows) => native.linear(native.intermediates(X, rows, gate, up), rows, down)
  const session = await engine.session('prunedFfn')
  const weights = { gate: matrix(gate, ff, d), up: matrix(up, ff, d), down: matrix(down, d, ff) }
  return async (X, rows) => floats((await session.run({ x: matrix(X, rows, d), ...weights })).y)
}

/** Intermediates → outputs of one expert's pruned down projection. */
export async function prunedDown(engine: Engine, down: PackedExpert): Promise<RowMap> {
  const { hidden: d, ff } = engine.model.config
  const W = unpackExpert(down, d, ff)
  const { native } = engine
  if (native) return async (Z, rows) => native.linear(Z, rows, W)
  const session = await engine.session('matMul')
  return async (Z, rows) => floats((await session.run({ x: matrix(Z, rows, ff), weight: matrix(W, d, ff) })).y)
}

/** A float tensor (rows, cols). */
export function matrix(data: Float32Array, rows: number, cols: number): Tensor {
  return { type: 'float32', dims: [rows, cols], data }
}

/** The numbers of a float output. */
export function floats(tensor: Tensor | undefined): Float32Array {
  return tensor!.data as Float32Array
}
