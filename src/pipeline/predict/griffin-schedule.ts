import { SolverError } from '../../errors.ts'
import type { Quality } from '../types.ts'
import type { Choosing, WindowStatistics } from './griffin-sets.ts'
import { maskContinuations } from './griffin-sets.ts'
import type { TailScorer, TailScores } from './score.ts'
import type { Walk } from './walk.ts'
import type { WindowIds } from '../../verify/hidden.ts'

/** Windows whose dense run is known, for measuring what sets of neurons cost. */
export type GriffinBench = {
  readonly layers: number
  readonly walk: Walk
  readonly scorer: TailScorer
  readonly windows: WindowIds
  readonly promptTokens: number
  readonly statistics: WindowStatistics
  /** Hidden states before the final norm with all neurons, and those that enter each layer. */
  readonly plain: Float32Array
  readonly layerInputs: readonly Float32Array[]
  /** Hidden states that quality is measured against: the dense model's. */
  readonly reference: Float32Array
  readonly signal?: AbortSignal
}

/** Densities that a layer of a schedule may have, falling. */
export const SCHEDULE_DENSITIES = [1, 0.75, 0.5, 0.25] as const

export type Schedule = {
  /** Density of each layer. */
  readonly densities: readonly number[]
  /** Measured with all layers at their density, on the windows that they were checked on. */
  readonly quality: Quality
  /** KL of each layer alone at SCHEDULE_DENSITIES[1 …], the others dense: [layer][i]. */
  readonly layerKl: readonly (readonly number[])[]
  /** Steps that had to be taken back because the layers together cost more than one by one. */
  readonly undone: number
}

/** Quality behind the prompt with the given densities. */
export async function densityQuality(
  bench: GriffinBench,
  densities: readonly number[],
  choosing: Choosing,
): Promise<Quality> {
  return (await densityScores(bench, densities, choosing)).quality
}

/** The same with the share of targets that are the most likely token. */
export async function densityScores(
  bench: GriffinBench,
  densities: readonly number[],
  choosing: Choosing,
): Promise<TailScores> {
  const { walk, windows, promptTokens, statistics, scorer, plain, reference } = bench
  const layer = densities.findIndex((density) => density < 1)
  const hidden =
    layer < 0
      ? plain
      : await walk.run({
          windows,
          from: { layer, hidden: bench.layerInputs[layer]! },
          onFf: maskContinuations(statistics, windows.sequenceLength, promptTokens, { ...choosing, densities }),
          ...(bench.signal ? { signal: bench.signal } : {}),
        })
  return scorer.scores(hidden, reference)
}

/**
 * Density of every layer under a budget of KL(dense ‖ model) in nats a token: layers step down where a step costs
 * least KL, as measured one layer at a time, until the mean density is down to `density` or the sum is at the budget.
 * The result is measured as a whole on `checking`, windows that nothing was chosen on, and steps are taken back, the last
 * first, until it is within the budget there too. Throws SolverError where the model is beyond it with all neurons.
 */
export async function scheduleDensities(
  { bench, checking }: { readonly bench: GriffinBench; readonly checking: GriffinBench },
  choosing: Choosing,
  density: number,
  klBudget: number,
  onStep: (done: number, total: number) => void = () => {},
): Promise<Schedule> {
  const { layers } = bench
  // An artifact is some way from the dense model with all of its neurons: steps share what that leaves of the budget.
  const whole = Array.from({ length: layers }, () => 1)
  const base = (await densityQuality(bench, whole, choosing)).kl!
  const layerKl = await aloneKl(bench, choosing, onStep)
  const added = layerKl.map((row) => row.map((kl) => kl - base))
  const steps = cheapestSteps(added, density, klBudget - base)
  for (let undone = 0; ; undone++) {
    const densities = Array.from({ length: layers }, (_, layer) => {
      const level = steps.filter((step) => step === layer).length
      return SCHEDULE_DENSITIES[level]!
    })
    const quality = await densityQuality(checking, densities, choosing)
    if (quality.kl! <= klBudget) return { densities, quality, layerKl, undone }
    if (steps.length === 0)
      throw new SolverError(
        `Cannot keep the KL of GRIFFIN within ${klBudget}: with all neurons it is ${quality.kl}: raise --kl-budget`,
      )
    steps.pop()
  }
}

async function aloneKl(
  bench: GriffinBench,
  choosing: Choosing,
  onStep: (done: number, total: number) => void,
): Promise<number[][]> {
  const { layers } = bench
  const levels = SCHEDULE_DENSITIES.length - 1
  const rows: number[][] = []
  for (let layer = 0; layer < layers; layer++) {
    const row: number[] = []
    for (const alone of SCHEDULE_DENSITIES.slice(1)) {
      onStep(layer * levels + row.length, layers * levels)
      const densities = Array.from({ length: layers }, (_, l) => (l === layer ? alone : 1))
      row.push((await densityQuality(bench, densities, choosing)).kl!)
    }
    rows.push(row)
  }
  return rows
}

/**
 * Layers in the order in which they step down by one level each: always the one whose next step adds least, while the
 * sum of the parts stays within the budget and the mean density above the aim. All levels are equally far apart.
 */
export function cheapestSteps(layerKl: readonly (readonly number[])[], density: number, klBudget: number): number[] {
  const levels = layerKl.map(() => 0)
  const steps: number[] = []
  const added = (layer: number): number =>
    (layerKl[layer]![levels[layer]!] ?? Infinity) - (levels[layer] === 0 ? 0 : layerKl[layer]![levels[layer]! - 1]!)
  let sum = 0
  let mean = 1
  for (;;) {
    const next = levels.reduce((best, _, layer) => (added(layer) < added(best) ? layer : best), 0)
    const after = mean - (1 - SCHEDULE_DENSITIES[1]) / levels.length
    if (added(next) === Infinity || sum + added(next) > klBudget || after < density - 1e-9) return steps
    sum += added(next)
    mean = after
    levels[next]!++
    steps.push(next)
  }
}
