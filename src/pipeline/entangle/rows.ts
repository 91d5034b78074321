import { relativeImprovement } from '../../entangle/ranking.ts'
import type { MatrixExpansion, MatrixName } from '../../entangle/types.ts'
import type { PackedExpert } from '../../mixture/expert.ts'
import type { ExpansionColumns } from './expansion.ts'
import type { PackedFfn } from '../jobs.ts'
import { ROLES } from '../jobs.ts'

/** What expansion did to the neurons [from, to) of a layer, which are those of `matrix` with so many inputs. */
export function expansionOf(
  columns: ExpansionColumns,
  [from, to]: readonly [number, number],
  matrix: MatrixName,
  inputs: number,
  ffns: readonly PackedFfn[],
): MatrixExpansion {
  const cut = (values: Float64Array): number[] => [...values.subarray(from, to)]
  const [mixture, baseline] = columns.squaredErrors.map(cut)
  const squares = columns.perExpert[0]!.squares.map((_, j) =>
    columns.perExpert.reduce((sum, expert) => sum + expert.squares[j]!, 0),
  )
  const dense = cut(squares)
  const relative = (errors: readonly number[]): number[] => errors.map((error, j) => Math.sqrt(error / dense[j]!))
  const packed = ffns.map((ffn) => ffn[ROLES[matrix]]!)
  return {
    expertWd: cut(columns.expertWd),
    expertMd: cut(columns.expertMd),
    randomWd: cut(columns.randomWd),
    ri: [...relativeImprovement(baseline!.map(Math.sqrt), mixture!.map(Math.sqrt))],
    prunedWd: cut(columns.prunedDistances[0]!),
    baselinePrunedWd: cut(columns.prunedDistances[1]!),
    error: relative(mixture!),
    baselineError: relative(baseline!),
    sparsity: zerosOf(packed, to - from, inputs),
    errorPerExpert: columns.perExpert.map(({ squaredErrors, squares: own }) =>
      Math.sqrt(sumOf(squaredErrors.subarray(from, to)) / sumOf(own.subarray(from, to))),
    ),
  }
}

function sumOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0)
}

/** Share of zeros of every row over all experts. */
function zerosOf(experts: readonly PackedExpert[], outputs: number, inputs: number): number[] {
  return Array.from({ length: outputs }, (_, i) => {
    const kept = experts.reduce((sum, { rowStarts, values }) => {
      const end = i + 1 < outputs ? rowStarts[i + 1]! : values.length
      return sum + end - rowStarts[i]!
    }, 0)
    return 1 - kept / (experts.length * inputs)
  })
}
