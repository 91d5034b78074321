import { describe, expect, it } from 'vitest'
import { dampingLine } from '../../bin/report/damping.ts'
import { dampingSummary } from '../../export/damping.ts'
import type { BlockStats } from '../../src/pipeline/types.ts'

/** A block of one matrix whose experts needed these dampings. */
function block(layer: number, experts: readonly (readonly [damping: number, factorizations: number])[]): BlockStats {
  const stats = experts.map(([damping, factorizations]) => ({
    tokens: 1,
    error: 0,
    damping,
    factorizations,
    deadInputs: 0,
  }))
  const matrices = [{ matrix: 'up_proj', sparsity: 0.5, error: 0, baselineError: 0, experts: stats }] as const
  return { layer, tokensPerExpert: experts.map(() => 1), matrices }
}

describe('dampingSummary()', () => {
  it('sums the ladder over blocks, matrices and experts', () => {
    const blocks = [
      block(0, [
        [0.01, 1],
        [1, 3],
      ]),
      block(1, [[0.1, 2]]),
    ]
    const summary = dampingSummary(blocks)!
    expect(summary).toEqual({ experts: 3, raised: 2, failed: 3, least: 0.01, most: 1 })
    expect(dampingLine(summary)).toBe(
      'Damping: raised for 2 of 3 experts of matrices after 3 failed factorisations, from 0.01 up to 1 of the mean of diag H',
    )
  })

  it('has nothing to say where nothing was factored, and little where the first damping held', () => {
    expect(dampingSummary([block(0, [[0, 0]])])).toBeUndefined()
    const summary = dampingSummary([block(0, [[0.01, 1]])])!
    expect(dampingLine(summary)).toBe('Damping: 0.01 held for all 1 experts of matrices')
  })
})
