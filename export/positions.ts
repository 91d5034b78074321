import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import type { Angles } from '../src/graph/rotary.ts'
import { rotaryAngles } from '../src/graph/rotary.ts'
import type { ModelConfig } from '../src/model/config.ts'
import { windowOf } from '../src/model/layer-kinds.ts'
import type { Attributes } from './attributes.ts'
import { int, TO_INT32, ON_AXIS_0, TO_THE_END } from './attributes.ts'

/** Values that layers share, all made from `input_ids` (B, S) and `attention_mask` (B, P + S). */
export type Positions = {
  /** [B, S] */
  readonly tokenShape: ValueName
  /** (B · S) int64: each token's own position. */
  readonly flat: ValueName
  /** (B · S, rotaryDim / 2): cosine and sine of the angles of each token; undefined in layers without rotary embedding. */
  readonly angles: (layer: number) => Angles | undefined
  /** (B, S) int64: the row of cos and sin of each token. */
  readonly rowIds: ValueName
  /** (B, 1, S, P + S): 0 where a key may be seen in a layer, far below zero where not. */
  readonly bias: (layer: number) => ValueName
  /** (B) int32 and () int32: keys of each row less one, and of all rows, as GroupQueryAttention wants them. */
  readonly keysLessOne: ValueName
  readonly keys: ValueName
}

/** Scores of masked keys: exp(−1e9) is 0, and a row of nothing but padding still has a finite softmax. */
const MASKED = -1e9

/**
 * A token's position is the number of real tokens before it (as generate() of transformers counts), so padding may stand
 * left or right. Angles are computed for the positions of the batch instead of being looked up in a table as long as the
 * context: no table to store, no length to outgrow. What several layers need is made once.
 *
 *   attention_mask ── CumSum − 1 ── Max 0 ── last S columns ── · inverse frequencies ── Cos, Sin
 */
export function positions(b: GraphBuilder, config: ModelConfig, causalBias: boolean): Positions {
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/positions', op, inputs, attributes)
  const tokenShape = at('Shape', ['input_ids'])
  const keys = at('Gather', [at('Shape', ['attention_mask']), b.ints(1)])
  const past = at('Sub', [keys, at('Gather', [tokenShape, b.ints(1)])])
  const counted = at('Sub', [at('CumSum', ['attention_mask', b.constant('int64', [], [1])]), b.ints(1)])
  const ofKeys = at('Max', [counted, b.ints(0)])
  const position = at('Slice', [ofKeys, past, b.ints(TO_THE_END), b.ints(1)])
  const flat = at('Reshape', [position, b.ints(-1)])
  const batch = at('Gather', [tokenShape, b.ints(0)])
  const lessOne = at('Cast', [at('Sub', [keys, b.ints(1)])], TO_INT32)
  const length = (): ValueName =>
    at('Add', [at('ReduceMax', [flat], { keepdims: int(0) }), b.constant('int64', [], [1])])
  const angles = memo((isLocal: boolean) => {
    const rope = isLocal ? config.localRope : config.rope
    return rope ? rotaryAngles(b, '/positions', { rope, dim: config.rotaryDim }, flat, length) : undefined
  })
  const bias = memo((window: number | null) =>
    attentionBias(b, { past, keys, tokenShape, batch, causal: causalBias, window, ofKeys, position }),
  )
  return {
    tokenShape,
    flat,
    angles: (layer) =>
      config.noRopeLayers.includes(layer)
        ? undefined
        : angles(config.localRope !== null && windowOf(config, layer) !== null),
    rowIds: at('Reshape', [rangeTo(b, at('Size', ['input_ids'])), tokenShape]),
    bias: (layer) => bias(windowOf(config, layer)),
    keysLessOne: at('Expand', [lessOne, batch]),
    keys: at('Cast', [at('Squeeze', [keys, b.ints(0)])], TO_INT32),
  }
}

/** Makes a value for each key once. */
function memo<K, V>(make: (key: K) => V): (key: K) => V {
  const made = new Map<K, V>()
  return (key) => {
    if (!made.has(key)) made.set(key, make(key))
    return made.get(key)!
  }
}

type BiasInputs = {
  readonly past: ValueName
  readonly keys: ValueName
  readonly tokenShape: ValueName
  readonly batch: ValueName
  /** GroupQueryAttention is causal by itself; plain attention is not. */
  readonly causal: boolean
  readonly window: number | null
  /** Positions of all keys (B, P + S) and of the queries (B, S), in real tokens: padding does not use up a window. */
  readonly ofKeys: ValueName
  readonly position: ValueName
}

/**
 *   attention_mask = 0 ── (B, 1, 1, keys) ──┐
 *   key > query ────────────────────────────┼ Or ── Where −1e9, 0 ── Expand (B, 1, S, keys)
 *   position of key ≤ of query − window ────┘
 */
function attentionBias(b: GraphBuilder, inputs: BiasInputs): ValueName {
  const { past, keys, tokenShape, batch, causal, window, ofKeys, position } = inputs
  const at = (op: string, operands: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/bias', op, operands, attributes)
  let hidden = at('Unsqueeze', [at('Equal', ['attention_mask', b.ints(0)]), b.ints(1, 2)])
  const queries = at('Gather', [tokenShape, b.ints(1)])
  if (causal) {
    const key = rangeTo(b, at('Squeeze', [keys, b.ints(0)]))
    const query = at('Unsqueeze', [at('Add', [rangeTo(b, at('Squeeze', [queries, b.ints(0)])), past]), b.ints(1)])
    hidden = at('Or', [hidden, at('Greater', [key, query])])
  }
  if (window !== null) {
    const first = at('Sub', [at('Unsqueeze', [position, b.ints(1, 3)]), b.ints(window)])
    hidden = at('Or', [hidden, at('LessOrEqual', [at('Unsqueeze', [ofKeys, b.ints(1, 2)]), first])])
  }
  const bias = at('Where', [hidden, b.constant('float', [], [MASKED]), b.constant('float', [], [0])])
  const shape = at('Concat', [batch, b.ints(1), queries, keys], ON_AXIS_0)
  return at('Expand', [bias, shape])
}

/** 0, 1, …, end − 1 for an int64 scalar. */
function rangeTo(b: GraphBuilder, end: ValueName): ValueName {
  return b.node('/positions', 'Range', [b.constant('int64', [], [0]), end, b.constant('int64', [], [1])])
}
