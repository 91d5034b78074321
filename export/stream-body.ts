import type { Graph } from '../src/formats/onnx/types.ts'
import type { ValueName } from '../src/graph/builder.ts'
import { GraphBuilder } from '../src/graph/builder.ts'
import type { Attributes } from './attributes.ts'
import { int, TO_FLOAT, TO_INT32, ON_AXIS_0, TO_THE_END } from './attributes.ts'
import type { Grid } from '../src/mixture/values.ts'
import { keptValues, scaled, valueCount } from './value-parts.ts'
import { ALLOW_ZERO, bytePopulation, byteRanks, EXCLUSIVE, tokenOrder } from './body-parts.ts'

/** Values of the function that the Loop body reads from outside. */
type Outer = {
  readonly experts: ValueName // (present) the experts of this batch, ascending
  readonly counts: ValueName // (present) tokens of each
  readonly starts: ValueName // (present) tokens before each
  readonly order: ValueName // (T) tokens sorted by expert
  readonly rows: ValueName // (T, 8·⌈K/8⌉)
  readonly bounds: ValueName // (E + 1) where the values of each expert begin in `values`
  readonly weightShape: ValueName // [N, 8·⌈K/8⌉]
  readonly padded: ValueName // [8·⌈K/8⌉]
}

/**
 * The stream body of a sparse product, floats or numbers on a grid: a Loop over the experts that occur in the batch decodes one expert at a time.
 * Nothing in it depends on constants only, so onnxruntime cannot fold the decoded weights into memory.
 *
 *   expert ── Unique ── experts, counts ──┐
 *   x ── Pad to 8·⌈K/8⌉ ─────────────────┼─ Loop ── (tokens of one expert, N) … ── Concat ── Gather ── y
 *   expert ── TopK ── tokens by expert ───┘                                         original order
 *
 * The products are collected in a sequence: carrying y itself through the Loop would copy all of it once per expert.
 */
export function streamBody(grid?: Grid): Graph {
  const b = new GraphBuilder()
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/stream', op, inputs, attributes)
  const [zero, minusOne] = [b.ints(0), b.ints(-1)]
  const expert = at('Reshape', ['expert', minusOne])
  const sorted: Attributes = { sorted: int(1) }
  const [experts, , , counts] = b.nodeOutputs('/stream', 'Unique', [expert], sorted, { outputs: 4 })
  const { order, restore } = tokenOrder(b, '/stream', expert)
  const maskShape = at('Shape', ['mask'])
  const outputs = at('Gather', [maskShape, b.ints(1)])
  const padded = at('Mul', [at('Gather', [maskShape, b.ints(2)]), b.ints(8)])
  const body = expertBody(b, grid, {
    experts: experts!,
    counts: counts!,
    starts: at('CumSum', [counts!, b.constant('int64', [], [0])], EXCLUSIVE),
    order,
    rows: paddedRows(b, padded),
    bounds: valueBounds(b, grid),
    weightShape: at('Concat', [outputs, padded], ON_AXIS_0),
    padded,
  })
  const noRows = at('ConstantOfShape', [at('Concat', [zero, outputs], ON_AXIS_0)])
  const loopInputs = [at('Size', [experts!]), b.constant('bool', [], [1]), at('SequenceConstruct', [noRows])]
  const products = at('Loop', loopInputs, { body: { type: 'graph', g: body } })
  const byToken = at('Gather', [at('ConcatFromSequence', [products], ON_AXIS_0), restore])
  const leading = at('Slice', [at('Shape', ['x']), zero, minusOne])
  const y = at('Reshape', [byToken, at('Concat', [leading, outputs], ON_AXIS_0)], ALLOW_ZERO)
  b.node('/stream', 'CastLike', [y, 'x'], {}, { outputs: ['y'] })
  return b.graph('stream')
}

/** x (…, K) → (T, 8·⌈K/8⌉) f32: zero columns stand against the padding bits, which is cheaper than cutting W. */
function paddedRows(b: GraphBuilder, padded: ValueName): ValueName {
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/stream/rows', op, inputs, attributes)
  const inputs = at('Slice', [at('Shape', ['x']), b.ints(-1), b.ints(TO_THE_END)])
  const flat = at('Reshape', [at('Cast', ['x'], TO_FLOAT), at('Concat', [b.ints(-1), inputs], ON_AXIS_0)])
  const padding = at('Concat', [b.ints(0), at('Sub', [padded, inputs])], ON_AXIS_0)
  return at('Pad', [flat, padding, '', b.ints(1)])
}

/** row_offsets (E, N) → (E + 1): index into `values` of the first value of each expert, and the end or one more. */
function valueBounds(b: GraphBuilder, grid: Grid | undefined): ValueName {
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/stream/bounds', op, inputs, attributes)
  const firstRow = at('Reshape', [at('Slice', ['row_offsets', b.ints(0), b.ints(1), b.ints(1)]), b.ints(-1)])
  return at('Concat', [at('Add', [firstRow, b.ints(1)]), valueCount(b, '/stream/bounds', grid)], ON_AXIS_0)
}

/**
 * One iteration: the tokens of one expert times its decoded weights.
 *
 *   bytes ── POPULATION ── CumSum = values before the byte ──┐
 *   bytes ── RANKS (byte, 8) ─────────────────────────────── Add ── Max 0 = index, 0 for pruned weights ──┐
 *   0, values of the expert ────────────────────────────────────────────── GatherElements ┴ W (· scales) ── Gemm
 *
 * GatherElements is several times faster than Gather on single numbers. Indices are relative to the expert and so fit
 * int32 in stacks of any size.
 */
function expertBody(outer: GraphBuilder, grid: Grid | undefined, from: Outer): Graph {
  const b = new GraphBuilder()
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/stream/expert', op, inputs, attributes)
  const [zero, one, minusOne] = [outer.ints(0), outer.ints(1), outer.ints(-1)]
  const iteration = b.input('/stream/expert/iteration', 'int64', [])
  const going = b.input('/stream/expert/going', 'bool', [])
  const products = '/stream/expert/products'
  const expert = at('Gather', [from.experts, iteration])
  const expert1 = at('Unsqueeze', [expert, zero])
  const start = at('Unsqueeze', [at('Gather', [from.starts, iteration]), zero])
  const end = at('Add', [start, at('Unsqueeze', [at('Gather', [from.counts, iteration]), zero])])
  const rows = at('Gather', [from.rows, at('Slice', [from.order, start, end])])

  const bytes = at('Cast', [at('Reshape', [at('Gather', ['mask', expert]), minusOne])], TO_INT32)
  const population = at('GatherElements', [outer.constant('int32', [256], bytePopulation()), bytes], ON_AXIS_0)
  const before = at('CumSum', [population, outer.constant('int32', [], [0])], EXCLUSIVE)
  const ranks = at('Gather', [outer.constant('int32', [256, 8], byteRanks()), bytes])
  const index = at('Max', [at('Add', [ranks, at('Unsqueeze', [before, one])]), outer.constant('int32', [], [0])])

  const first = at('Gather', [from.bounds, expert1])
  const last = at('Gather', [from.bounds, at('Add', [expert1, one])])
  const kept = keptValues(b, outer, '/stream/expert', grid, first, last)
  const values = at('Concat', [outer.constant('float', [1], [0]), kept], ON_AXIS_0)
  const weights = at('GatherElements', [values, at('Reshape', [index, minusOne])], ON_AXIS_0)
  const onGrid = at('Reshape', [weights, from.weightShape])
  const W = grid ? scaledWeights(b, outer, grid, onGrid, expert, from.padded) : onGrid
  const product = at('Gemm', [rows, W], { transB: int(1) })

  b.output(at('Identity', [going]), 'bool', [])
  const collected = at('SequenceInsert', [products, product])
  const graph = b.graph('expert')
  graph.input.push({ name: products, type: 'float', sequence: true })
  graph.output.push({ name: collected, type: 'float', sequence: true })
  return graph
}

/** W (N, 8·⌈K/8⌉) by the scales of one expert. */
function scaledWeights(
  b: GraphBuilder,
  outer: GraphBuilder,
  grid: Grid,
  W: ValueName,
  expert: ValueName,
  padded: ValueName,
): ValueName {
  const scales = b.node('/stream/expert/scales', 'Gather', ['scales', expert])
  return scaled(b, outer, '/stream/expert/scales', grid, W, scales, { inputs: padded, leading: 1 })
}
