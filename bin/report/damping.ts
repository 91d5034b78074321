import type { CompressResult } from '../../src/index.ts'
import { count } from '../format.ts'

/** The damping ladder in one line; how far it climbed for which expert is among the fallbacks. */
export function dampingLine(damping: NonNullable<CompressResult['damping']>): string {
  const { experts, raised, failed, least, most } = damping
  if (raised === 0) return `Damping: ${most} held for all ${count(experts)} experts of matrices`
  return (
    `Damping: raised for ${count(raised)} of ${count(experts)} experts of matrices after ${count(failed)} failed ` +
    `factorisations, from ${least} up to ${most} of the mean of diag H`
  )
}
