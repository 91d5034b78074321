import type { ExpertsProfile, LayerProfile } from '../mixture/profile.ts'
import { PROFILE_VERSION } from '../mixture/profile.ts'
import { descending, quantile } from './ranking.ts'
import type { EntangleReport } from './types.ts'

export type ProposeOptions = {
  /** Mean number of experts. */
  readonly experts: number
  /** Mean share of zeros, and by how much the quarters at both ends differ from it; 0 leaves it out. */
  readonly sparsity: number
  readonly spread: number
  readonly maxExperts: number
}

/**
 * A profile by one rule. Layers are ranked, by median RI where the report is of an artifact (where experts gave more),
 * by median WD else (where there is more to disentangle). The highest quarter gets twice the experts, the lowest half gets
 * half as many, the others stay: as many experts as before, if their number is even. With a spread, the quarter of the
 * layers with the largest median error (artifact) or WD gets that much less sparsity, and the quarter with the smallest as
 * much more. Fewer than four layers stay alike.
 */
export function proposeProfile(report: EntangleReport, options: ProposeOptions): ExpertsProfile {
  const { experts, sparsity, spread, maxExperts } = options
  const quarter = Math.floor(report.shape.layers / 4)
  const [gain, gainName] = report.mixture
    ? ([scores(report, (m) => m.expansion!.ri), 'median RI'] as const)
    : ([scores(report, (m) => m.wd), 'median WD'] as const)
  const [harm, harmName] = report.mixture
    ? ([scores(report, (m) => m.expansion!.error), 'median error'] as const)
    : ([scores(report, (m) => m.wd), 'median WD'] as const)
  const byGain = descending(gain)
  const byHarm = descending(harm)
  const most = new Set(byGain.slice(0, quarter))
  const least = new Set(quarter === 0 ? [] : byGain.slice(-2 * quarter))
  const spared = new Set(byHarm.slice(0, quarter))
  const loaded = new Set(quarter === 0 ? [] : byHarm.slice(-quarter))
  const layers = gain.map((_, layer): LayerProfile => {
    const own = most.has(layer)
      ? Math.min(maxExperts, 2 * experts)
      : least.has(layer)
        ? Math.max(1, Math.floor(experts / 2))
        : experts
    if (spread === 0) return { experts: own }
    const shift = spared.has(layer) ? -spread : loaded.has(layer) ? spread : 0
    return { experts: own, sparsity: Number((sparsity + shift).toPrecision(6)) }
  })
  const zeros =
    spread === 0
      ? ''
      : `; sparsity ${sparsity}, ${spread} less in the quarter with the largest ${harmName}, ${spread} more in that with the smallest`
  const rule = `${experts} experts, twice as many in the quarter of the layers with the largest ${gainName}, half as many in the half with the smallest${zeros}`
  return { profileVersion: PROFILE_VERSION, sourceSha256: report.sourceSha256, rule, layers }
}

/** The median of one measure over all neurons of every layer. */
function scores(
  report: EntangleReport,
  of: (matrix: EntangleReport['matrices'][number]) => readonly number[],
): number[] {
  return Array.from({ length: report.shape.layers }, (_, layer) =>
    quantile(
      report.matrices.filter((matrix) => matrix.layer === layer).flatMap((matrix) => of(matrix)),
      0.5,
    ),
  )
}
