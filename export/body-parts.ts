import type { AttributeValue } from '../src/formats/onnx/types.ts'
import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'

/** What both bodies of SparseExpertMatMul are made of. */

export type Attributes = Readonly<Record<string, AttributeValue>>
export const TO_FLOAT: Attributes = { to: { type: 'int', i: 1 } }
export const TO_INT32: Attributes = { to: { type: 'int', i: 6 } }
export const ON_AXIS_0: Attributes = { axis: { type: 'int', i: 0 } }
/** CumSum of what comes before, without the element itself. */
export const EXCLUSIVE: Attributes = { exclusive: { type: 'int', i: 1 } }

/** Reshape takes 0 as 0 rows, not as "copy this dimension". */
export const ALLOW_ZERO: Attributes = { allowzero: { type: 'int', i: 1 } }

/** "To the end" for Slice; int64 attributes and constants are exact up to 2⁵³ here. */
export const TO_THE_END = Number.MAX_SAFE_INTEGER

/** Ranks of absent bits: far below zero, so that rank + count stays below 1 while a stack has fewer values than this. */
export const ABSENT = -(2 ** 30)

/** Set bits of every byte. */
export function bytePopulation(): number[] {
  return Array.from({ length: 256 }, (_, byte) => bitsOf(byte).filter((bit) => bit).length)
}

/** (256, 8): the how-manieth set bit of the byte this one is, from 1, low bit first; ABSENT where the bit is 0. */
export function byteRanks(): number[] {
  return Array.from({ length: 256 }, (_, byte) => {
    let rank = 0
    return bitsOf(byte).map((bit) => (bit ? ++rank : ABSENT))
  }).flat()
}

function bitsOf(byte: number): boolean[] {
  return Array.from({ length: 8 }, (_, j) => ((byte >> j) & 1) === 1)
}

/**
 * expert (T) → `order` (T): token indices sorted by expert, stable; `restore` (T): where each token went.
 * TopK breaks ties by the lower index, and sorting a permutation gives its inverse.
 */
export function tokenOrder(b: GraphBuilder, path: string, expert: ValueName): { order: ValueName; restore: ValueName } {
  const smallestFirst: Attributes = { largest: { type: 'int', i: 0 } }
  const count = b.node(path, 'Shape', [expert])
  const [, order] = b.nodeOutputs(path, 'TopK', [expert, count], smallestFirst, { outputs: 2 })
  const [, restore] = b.nodeOutputs(path, 'TopK', [order!, count], smallestFirst, { outputs: 2 })
  return { order: order!, restore: restore! }
}
