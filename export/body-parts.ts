import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import type { Attributes } from './attributes.ts'
import { int } from './attributes.ts'

/** What both bodies of SparseExpertMatMul are made of. */

/** CumSum of what comes before, without the element itself. */
export const EXCLUSIVE: Attributes = { exclusive: int(1) }

/** Reshape takes 0 as 0 rows, not as "copy this dimension". */
export const ALLOW_ZERO: Attributes = { allowzero: int(1) }

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
  const smallestFirst: Attributes = { largest: int(0) }
  const count = b.node(path, 'Shape', [expert])
  const [, order] = b.nodeOutputs(path, 'TopK', [expert, count], smallestFirst, { outputs: 2 })
  const [, restore] = b.nodeOutputs(path, 'TopK', [order!, count], smallestFirst, { outputs: 2 })
  return { order: order!, restore: restore! }
}
