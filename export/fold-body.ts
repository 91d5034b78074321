import type { Graph } from '../src/formats/onnx/types.ts'
import type { ValueName } from '../src/graph/builder.ts'
import { GraphBuilder } from '../src/graph/builder.ts'
import type { Attributes } from './attributes.ts'
import { int, TO_FLOAT, TO_INT32, TO_INT64, ON_AXIS_0, TO_THE_END } from './attributes.ts'
import type { Grid } from '../src/mixture/values.ts'
import { nibbles, scaled } from './value-parts.ts'
import { ALLOW_ZERO, bytePopulation, byteRanks, EXCLUSIVE, tokenOrder } from './body-parts.ts'

/**
 * The fold body of a sparse product for `experts` experts: the decoder hangs on constants only, so onnxruntime computes
 * the dense weights while loading and runs at dense speed; see foldPeakBytes() for what that costs.
 *
 *   expert ── TopK ── tokens by expert
 *   x ── Gather by expert ── Split by counts ── x_e ── Gemm(W_e) ── Concat ── Gather original order ── y
 *   mask, values ── decode (E·N·⌈K/8⌉, 8) ── Slice to K ── Split ── W_e (folded)
 *
 * An expert without tokens gets a product of no rows, which costs next to nothing: guarding it with If does not pay.
 */
export function foldBody(experts: number, grid?: Grid): Graph {
  const b = new GraphBuilder()
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/fold', op, inputs, attributes)
  const split = (inputs: ValueName[]): ValueName[] =>
    b.nodeOutputs('/fold', 'Split', inputs, ON_AXIS_0, { outputs: experts })
  const xShape = at('Shape', ['x'])
  const inputs = at('Slice', [xShape, b.ints(-1), b.ints(TO_THE_END)])
  const flat = at('Reshape', [at('Cast', ['x'], TO_FLOAT), at('Concat', [b.ints(-1), inputs], ON_AXIS_0)])
  const expert = at('Reshape', ['expert', b.ints(-1)])
  const { order, restore } = tokenOrder(b, '/fold', expert)
  const ids = b.constant(
    'int64',
    [experts, 1],
    Array.from({ length: experts }, (_, e) => e),
  )
  const isExpert = at('Cast', [at('Equal', [expert, ids])], TO_INT64)
  const counts = at('ReduceSum', [isExpert, b.ints(1)], { keepdims: int(0) })
  const rows = split([at('Gather', [flat, order]), counts])
  const ones = b.constant(
    'int64',
    [experts],
    Array.from({ length: experts }, () => 1),
  )
  const weights = split([decodedStack(b, inputs, grid), ones])
  const products = rows.map((rowsOfExpert, e) =>
    at('Gemm', [rowsOfExpert, at('Squeeze', [weights[e]!, b.ints(0)])], { transB: int(1) }),
  )
  const byToken = at('Gather', [at('Concat', products, ON_AXIS_0), restore])
  const outputs = at('Gather', [at('Shape', ['mask']), b.ints(1)])
  const shape = at('Concat', [at('Slice', [xShape, b.ints(0), b.ints(-1)]), outputs], ON_AXIS_0)
  b.node('/fold', 'CastLike', [at('Reshape', [byToken, shape], ALLOW_ZERO), 'x'], {}, { outputs: ['y'] })
  return b.graph('fold')
}

/** mask, values (, scales) → W (E, N, K) f32. Gather instead of GatherElements: slower, but its indices stay (…, 8) int32. */
function decodedStack(b: GraphBuilder, inputs: ValueName, grid: Grid | undefined): ValueName {
  const at = (op: string, nodeInputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/fold/decode', op, nodeInputs, attributes)
  const maskShape = at('Shape', ['mask'])
  const padded = at('Mul', [at('Gather', [maskShape, b.ints(2)]), b.ints(8)])
  const stackShape = at('Concat', [at('Gather', [maskShape, b.ints(0, 1)]), padded], ON_AXIS_0)
  const bytes = at('Cast', [at('Reshape', ['mask', b.ints(-1)])], TO_INT32)
  const population = at('Gather', [b.constant('int32', [256], bytePopulation()), bytes])
  const before = at('CumSum', [population, b.constant('int32', [], [0])], EXCLUSIVE)
  const ranks = at('Gather', [b.constant('int32', [256, 8], byteRanks()), bytes])
  const index = at('Max', [at('Add', [ranks, at('Unsqueeze', [before, b.ints(1)])]), b.constant('int32', [], [0])])
  const values = grid?.bits === 4 ? nibbles(b, b, '/fold/decode', 'values') : at('Cast', ['values'], TO_FLOAT)
  const weights = at('Gather', [values, index])
  const W = at('Slice', [at('Reshape', [weights, stackShape]), b.ints(0), inputs, b.ints(2)])
  return grid ? scaled(b, b, '/fold/scales', grid, W, 'scales', { inputs, leading: 2 }) : W
}
