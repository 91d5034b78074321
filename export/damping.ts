import type { BlockStats, DampingSummary } from '../src/pipeline/types.ts'

/** What the damping ladder did over all blocks; undefined when nothing was factored. */
export function dampingSummary(blocks: readonly BlockStats[]): DampingSummary | undefined {
  const experts = blocks.flatMap(({ matrices }) => matrices.flatMap((matrix) => matrix.experts))
  const factored = experts.filter(({ factorizations }) => factorizations > 0)
  if (factored.length === 0) return undefined
  const dampings = factored.map(({ damping }) => damping)
  return {
    experts: factored.length,
    raised: factored.filter(({ factorizations }) => factorizations > 1).length,
    failed: factored.reduce((sum, { factorizations }) => sum + factorizations - 1, 0),
    least: dampings.reduce((a, b) => Math.min(a, b)),
    most: dampings.reduce((a, b) => Math.max(a, b)),
  }
}
