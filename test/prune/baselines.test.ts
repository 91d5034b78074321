import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { SolverError } from '../../src/errors.ts'
import { magnitude, wanda } from '../../src/prune/baselines.ts'
import type { Pattern } from '../../src/prune/pattern.ts'
import { randomProblem, unpackMask } from './naive.ts'

/** Kept flags when the `dropped` lowest of every `group` scores go, ties to the lowest position. */
function naiveMask(scores: number[], group: number, dropped: number): number[] {
  const kept = scores.map(() => 1)
  for (let at = 0; at < scores.length; at += group)
    Array.from({ length: group }, (_, q) => at + q)
      .sort((a, b) => scores[a]! - scores[b]!)
      .slice(0, dropped)
      .forEach((i) => (kept[i] = 0))
  return kept
}

const cases = fc.record({
  outputs: fc.integer({ min: 1, max: 9 }),
  groups: fc.integer({ min: 1, max: 6 }),
  sparsity: fc.double({ min: 0, max: 0.99, noNaN: true }),
  isGrouped: fc.boolean(),
  hasTies: fc.boolean(),
  seed: fc.integer({ min: 1, max: 1e6 }),
})

it('wanda() and magnitude() keep what sorting keeps', () => {
  fc.assert(
    fc.property(cases, ({ outputs, groups, sparsity, isGrouped, hasTies, seed }) => {
      const inputs = 4 * groups
      const { W } = randomProblem(outputs, inputs, 1, seed)
      if (hasTies) W.forEach((w, at) => (W[at] = Math.round(w)))
      const norms = Float32Array.from({ length: inputs }, (_, j) => 1 + (j % 3))
      const pattern: Pattern = isGrouped ? { kind: 'n:m', n: 3, m: 4 } : { kind: 'unstructured', sparsity }
      const byNorm = Array.from(W, (w, at) => Math.abs(w) * norms[at % inputs]!)
      const bySize = Array.from(W, Math.abs)
      const [rowGroup, rowDrop] = isGrouped ? [4, 3] : [inputs, Math.floor(inputs * sparsity)]
      const [allGroup, allDrop] = isGrouped ? [4, 3] : [W.length, Math.floor(W.length * sparsity)]
      const results = [
        [wanda(W, outputs, norms, pattern), naiveMask(byNorm, rowGroup, rowDrop)],
        [magnitude(W, outputs, inputs, pattern), naiveMask(bySize, allGroup, allDrop)],
      ] as const
      for (const [got, kept] of results) {
        expect([...unpackMask(got.mask, outputs, inputs)]).toEqual(kept)
        expect(got.weights).toEqual(W.map((w, at) => (kept[at] ? w : 0)))
        expect(got.zeros).toBe(kept.filter((keep) => keep === 0).length)
      }
    }),
    { numRuns: 60 },
  )
})

it('wanda() with equal norms is magnitude() row by row', () => {
  const { W } = randomProblem(6, 20, 1, 3)
  const pattern: Pattern = { kind: 'unstructured', sparsity: 0.5 }
  const rows = Array.from({ length: 6 }, (_, i) => magnitude(W.slice(i * 20, (i + 1) * 20), 1, 20, pattern).weights)
  expect([...wanda(W, 6, new Float32Array(20).fill(2), pattern).weights]).toEqual(rows.flatMap((row) => [...row]))
})

it('wanda() and magnitude() refuse weights that are not finite', () => {
  const W = Float32Array.from([1, 2, NaN, 4])
  const pattern: Pattern = { kind: 'unstructured', sparsity: 0.5 }
  expect(() => magnitude(W, 1, 4, pattern)).toThrow(SolverError)
  expect(() => wanda(W, 1, new Float32Array(4).fill(1), pattern)).toThrow('score NaN of weight 2')
})
