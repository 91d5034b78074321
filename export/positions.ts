import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import type { ModelConfig } from '../src/model/config.ts'
import { inverseFrequencies } from '../src/model/rope.ts'
import type { Attributes } from './attributes.ts'
import { TO_FLOAT, TO_INT32, ON_AXIS_0, TO_THE_END } from './attributes.ts'

/** Values that every layer's attention shares, all made from `input_ids` (B, S) and `attention_mask` (B, P + S). */
export type Positions = {
  /** [B, S] */
  readonly tokenShape: ValueName
  /** (B · S, headDim / 2): cosine and sine of the angles of each token's own position. */
  readonly cos: ValueName
  readonly sin: ValueName
  /** (B, S) int64: the row of cos and sin of each token. */
  readonly rowIds: ValueName
  /** (B, 1, S, P + S): 0 where a key may be seen, far below zero where not. */
  readonly bias: ValueName
  /** (B) int32 and () int32: keys of each row less one, and of all rows, as GroupQueryAttention wants them. */
  readonly keysLessOne: ValueName
  readonly keys: ValueName
}

/** Scores of masked keys: exp(−1e9) is 0, and a row of nothing but padding still has a finite softmax. */
const MASKED = -1e9

/**
 * A token's position is the number of real tokens before it (as generate() of transformers counts), so padding may stand
 * left or right. Angles are computed for the positions of the batch instead of being looked up in a table as long as the
 * context: no table to store, no length to outgrow.
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
  const position = at('Slice', [at('Max', [counted, b.ints(0)]), past, b.ints(TO_THE_END), b.ints(1)])
  const frequencies = inverseFrequencies(config.rope, config.headDim)
  const column = at('Cast', [at('Reshape', [position, b.ints(-1, 1)])], TO_FLOAT)
  const angles = at('Mul', [column, b.constant('float', [1, frequencies.length], [...frequencies])])
  const batch = at('Gather', [tokenShape, b.ints(0)])
  const lessOne = at('Cast', [at('Sub', [keys, b.ints(1)])], TO_INT32)
  return {
    tokenShape,
    cos: at('Cos', [angles]),
    sin: at('Sin', [angles]),
    rowIds: at('Reshape', [rangeTo(b, at('Size', ['input_ids'])), tokenShape]),
    bias: attentionBias(b, { past, keys, tokenShape, batch, causal: causalBias, window: config.slidingWindow }),
    keysLessOne: at('Expand', [lessOne, batch]),
    keys: at('Cast', [at('Squeeze', [keys, b.ints(0)])], TO_INT32),
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
}

/**
 *   attention_mask = 0 ── (B, 1, 1, keys) ──┐
 *   key > query ────────────────────────────┼ Or ── Where −1e9, 0 ── Expand (B, 1, S, keys)
 *   key ≤ query − window ───────────────────┘
 */
function attentionBias(b: GraphBuilder, { past, keys, tokenShape, batch, causal, window }: BiasInputs): ValueName {
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/bias', op, inputs, attributes)
  let hidden = at('Unsqueeze', [at('Equal', ['attention_mask', b.ints(0)]), b.ints(1, 2)])
  const queries = at('Gather', [tokenShape, b.ints(1)])
  if (causal || window !== null) {
    const key = rangeTo(b, at('Squeeze', [keys, b.ints(0)]))
    const query = at('Unsqueeze', [at('Add', [rangeTo(b, at('Squeeze', [queries, b.ints(0)])), past]), b.ints(1)])
    if (causal) hidden = at('Or', [hidden, at('Greater', [key, query])])
    if (window !== null) hidden = at('Or', [hidden, at('LessOrEqual', [key, at('Sub', [query, b.ints(window)])])])
  }
  const bias = at('Where', [hidden, b.constant('float', [], [MASKED]), b.constant('float', [], [0])])
  const shape = at('Concat', [batch, b.ints(1), queries, keys], ON_AXIS_0)
  return at('Expand', [bias, shape])
}

/** 0, 1, …, end − 1 for an int64 scalar. */
function rangeTo(b: GraphBuilder, end: ValueName): ValueName {
  return b.node('/positions', 'Range', [b.constant('int64', [], [0]), end, b.constant('int64', [], [1])])
}
