import type { AttributeValue } from '../formats/onnx/types.ts'
import type { ModelConfig } from '../model/config.ts'
import { softcap } from './activation.ts'
import type { GraphBuilder, ValueName } from './builder.ts'

const int = (i: number): AttributeValue => ({ type: 'int', i })
const ints = (...values: number[]): AttributeValue => ({ type: 'ints', ints: values })

/** Queries are taken in this many blocks, each against the keys up to its own end: 9/16 of all scores are computed. */
const BLOCKS = 8

/**
 * How far below a query's own score masked scores are put. Masking by -inf is exact too, but onnxruntime's exponential
 * then makes denormal numbers, which this processor family handles 10 to 20 times slower: most of the time of its
 * attention operators went there. A masked key keeps a share of at most e⁻³⁰ = 1e-13, nothing beside float32 rounding
 * (6e-8) for any length below 10⁵.
 */
const MASK_DEPTH = 30

/** One block of queries, of s tokens, with everything of its keys; R = group = heads / kvHeads. */
type Block = {
  readonly group: number
  readonly headDim: number
  readonly softcap: number | null
  /** (B, kvHeads, R·s, headDim), scaled; the s queries of the first head of each group, then those of the next. */
  readonly queries: ValueName
  /** (B, kvHeads, s, headDim). */
  readonly keys: ValueName
  /** (B, kvHeads, earlier tokens, headDim); absent for the first block. */
  readonly earlierKeys: ValueName | undefined
  /** (B, kvHeads, tokens so far, headDim). */
  readonly values: ValueName
  /** (s). */
  readonly positions: ValueName
  /** [B, kvHeads, R, s, headDim]. */
  readonly outputShape: ValueName
}

/**
 * softmax(q kᵀ · scale, causal) v for whole sequences: q (B, T, heads·headDim), k and v (B, T, kvHeads·headDim), both
 * rotated, positions (T) → (B·T, heads·headDim). A block's attention half is 1.2 to 2.6 times faster this way than with
 * Attention-23 at T = 256 to 2048, one thread (GroupQueryAttention, MultiHeadAttention: no better); equal at T = 64.
 *
 *     q ─ Split ─┬─ block 0 ─┐
 *     k, v ──────┼─ block 1 ─┼─ Concat ─ y
 *                └─ ...      ┘
 */
export function causalAttention(
  b: GraphBuilder,
  path: string,
  config: ModelConfig,
  { q, k, v, positions, shape }: Record<'q' | 'k' | 'v' | 'positions' | 'shape', ValueName>,
): ValueName {
  const { heads, kvHeads, headDim, attentionScale, attentionSoftcap } = config
  const group = heads / kvHeads
  const scaled = b.node(path, 'Mul', [q, b.constant('float', [], [attentionScale])])
  const split = (x: ValueName, dims: number[], perm: number[], axis: number): ValueName[] => {
    const byHead = b.node(path, 'Reshape', [x, b.ints(0, 0, ...dims)])
    return splitTokens(b, path, b.node(path, 'Transpose', [byHead], { perm: ints(...perm) }), sizes, axis)
  }
  const sizes = blockSizes(b, path, b.node(path, 'Shape', [positions]))
  const queries = split(scaled, [kvHeads, group, headDim], [0, 2, 3, 1, 4], 3)
  const keys = split(k, [kvHeads, headDim], [0, 2, 1, 3], 2)
  const values = split(v, [kvHeads, headDim], [0, 2, 1, 3], 2)
  const where = splitTokens(b, path, positions, sizes, 0)
  const batch = b.node(path, 'Slice', [shape, b.ints(0), b.ints(1)])

  const outputs: ValueName[] = []
  let earlierKeys: ValueName | undefined
  let valuesSoFar: ValueName | undefined
  for (let i = 0; i < BLOCKS; i++) {
    const at = `${path}/block.${i}`
    valuesSoFar = joined(b, at, valuesSoFar, values[i]!)
    // Dims are written out, not left to -1: sequences shorter than BLOCKS have empty blocks.
    const size = b.node(at, 'Shape', [where[i]!])
    const outputShape = concat(b, at, [batch, b.ints(kvHeads, group), size, b.ints(headDim)])
    const rows = b.node(at, 'Mul', [size, b.ints(group)])
    const flat = concat(b, at, [batch, b.ints(kvHeads), rows, b.ints(headDim)])
    const block: Block = {
      group,
      headDim,
      softcap: attentionSoftcap,
      queries: reshape(b, at, queries[i]!, flat),
      keys: keys[i]!,
      earlierKeys,
      values: valuesSoFar,
      positions: where[i]!,
      outputShape,
    }
    outputs.push(attendBlock(b, at, block))
    earlierKeys = joined(b, at, earlierKeys, keys[i]!)
  }
  const all = b.node(path, 'Concat', outputs, { axis: int(3) }) // (B, kvHeads, R, T, headDim)
  const back = b.node(path, 'Transpose', [all], { perm: ints(0, 3, 1, 2, 4) })
  return b.node(path, 'Reshape', [back, b.ints(-1, heads * headDim)])
}

/**
 * One block of queries → (B, kvHeads, R, s, headDim).
 *
 *     queries ─┬─ MatMul keysᵀ ─ Add mask ─ Max floor ─┐
 *              ├─ MatMul earlierKeysᵀ ──────────────── Concat ─ Softmax ─ MatMul values ─ y
 *              └─ own score - 30 = floor
 */
function attendBlock(b: GraphBuilder, path: string, block: Block): ValueName {
  const product = (keys: ValueName): ValueName =>
    softcap(b, path, b.node(path, 'MatMul', [block.queries, transposed(b, path, keys)]), block.softcap)
  const own = product(block.keys)
  const floor = maskedScore(b, path, block)
  const masked = b.node(path, 'Max', [b.node(path, 'Add', [own, causalMask(b, path, block)]), floor])
  const scores = block.earlierKeys
    ? b.node(path, 'Concat', [product(block.earlierKeys), masked], { axis: int(3) })
    : masked
  const weights = b.node(path, 'Softmax', [scores], { axis: int(-1) })
  return reshape(b, path, b.node(path, 'MatMul', [weights, block.values]), block.outputShape)
}

/** Each query's score with its own key, less MASK_DEPTH: (B, kvHeads, R·s, 1). */
function maskedScore(b: GraphBuilder, path: string, block: Block): ValueName {
  const { queries, keys, group, headDim } = block
  const aligned = b.node(path, 'Tile', [keys, b.ints(1, 1, group, 1)])
  // A product with ones and not ReduceSum: that one loses the shape of an empty block.
  const ones = b.constant('float', [headDim, 1], Array<number>(headDim).fill(1))
  const sum = b.node(path, 'MatMul', [b.node(path, 'Mul', [queries, aligned]), ones])
  return b.node(path, 'Sub', [softcap(b, path, sum, block.softcap), b.constant('float', [], [MASK_DEPTH])])
}

/** (R·s, s): 0 where the key is not after the query, -inf where it is. */
function causalMask(b: GraphBuilder, path: string, { positions, group }: Block): ValueName {
  const rows = b.node(path, 'Unsqueeze', [b.node(path, 'Tile', [positions, b.ints(group)]), b.ints(1)])
  const isLater = b.node(path, 'Greater', [positions, rows])
  return b.node(path, 'Where', [
    isLater,
    b.constant('float', [], [Number.NEGATIVE_INFINITY]),
    b.constant('float', [], [0]),
  ])
}

/** Token counts of the blocks, (BLOCKS): as even as can be, from T as a list of one. */
function blockSizes(b: GraphBuilder, path: string, length: ValueName): ValueName {
  const edge = (first: number): ValueName => {
    const steps = b.ints(...Array.from({ length: BLOCKS }, (_, i) => first + i))
    return b.node(path, 'Div', [b.node(path, 'Mul', [length, steps]), b.ints(BLOCKS)])
  }
  return b.node(path, 'Sub', [edge(1), edge(0)])
}

function splitTokens(b: GraphBuilder, path: string, x: ValueName, sizes: ValueName, axis: number): ValueName[] {
  return b.nodeOutputs(path, 'Split', [x, sizes], { axis: int(axis) }, { outputs: BLOCKS })
}

/** Keys or values with those of the next block behind them. */
function joined(b: GraphBuilder, path: string, earlier: ValueName | undefined, next: ValueName): ValueName {
  return earlier === undefined ? next : b.node(path, 'Concat', [earlier, next], { axis: int(2) })
}

function transposed(b: GraphBuilder, path: string, x: ValueName): ValueName {
  return b.node(path, 'Transpose', [x], { perm: ints(0, 1, 3, 2) })
}

function reshape(b: GraphBuilder, path: string, x: ValueName, shape: ValueName): ValueName {
  return b.node(path, 'Reshape', [x, shape], { allowzero: int(1) })
}

function concat(b: GraphBuilder, path: string, parts: readonly ValueName[]): ValueName {
  return b.node(path, 'Concat', parts, { axis: int(0) })
}
