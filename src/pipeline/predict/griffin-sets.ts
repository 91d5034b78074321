import { GriffinStatistic, keptNeurons } from '../../predict/griffin.ts'
import { timesNorms } from '../../predict/scores.ts'
import type { SelectionMethod } from '../../predict/select.ts'
import { selectNeurons } from '../../predict/select.ts'
import type { NeuronNorms } from './norms.ts'
import type { FfChunk } from './walk.ts'

/**
 * What neurons are ranked by: GRIFFIN's statistic, the same times the norm of their down weights, the number of tokens that
 * have them among their largest (as CoreInfer counts), or weights alone.
 */
export const GRIFFIN_SCORES = ['statistic', 'statistic-down', 'count', 'magnitude'] as const
export type GriffinScores = (typeof GRIFFIN_SCORES)[number]

/** GRIFFIN's statistic of every window and layer: of the prompt and of what follows it. */
export type WindowStatistics = {
  readonly prompt: readonly (readonly GriffinStatistic[])[] // [layer][window]
  readonly continuation: readonly (readonly GriffinStatistic[])[]
}

/** Empty statistics of `nWindows` windows, and what fills them from a walk; tokens of prompts are counted if wanted. */
export function collectStatistics(
  model: Pick<NeuronNorms, 'config'>,
  nWindows: number,
  T: number,
  promptTokens: number,
  isCounted = false,
): { statistics: WindowStatistics; onFf: (chunk: FfChunk) => void } {
  const { layers, ff } = model.config
  const empty = (): GriffinStatistic[][] =>
    Array.from({ length: layers }, () => Array.from({ length: nWindows }, () => new GriffinStatistic(ff)))
  const statistics = { prompt: empty(), continuation: empty() }
  const onFf = ({ layer, firstWindow, windows, z }: FfChunk): void => {
    for (let w = 0; w < windows; w++) {
      const [from, cut, to] = [w * T, w * T + promptTokens, (w + 1) * T].map((row) => row * ff)
      const prompt = statistics.prompt[layer]![firstWindow + w]!
      prompt.add(z.subarray(from, cut))
      if (isCounted) prompt.count(z.subarray(from, cut))
      statistics.continuation[layer]![firstWindow + w]!.add(z.subarray(cut, to))
    }
  }
  return { statistics, onFf }
}

/** Ranks the neurons of a layer for one sequence. */
export type Ranker = (layer: number, statistic: GriffinStatistic) => Float64Array

/** The ranking of a kind; norms of weights are read once a layer. */
export function rankerOf({ norms }: Pick<NeuronNorms, 'norms'>, kind: GriffinScores): Ranker {
  const kept = new Map<number, Float64Array>()
  const once = (layer: number, make: () => Float64Array): Float64Array => {
    const held = kept.get(layer) ?? make()
    kept.set(layer, held)
    return held
  }
  switch (kind) {
    case 'statistic':
      return (_, statistic) => statistic.scores()
    case 'statistic-down':
      return (layer, statistic) =>
        timesNorms(
          statistic.scores(),
          once(layer, () => norms('down', layer)),
        )
    case 'count':
      return (_, { counts }) => counts
    case 'magnitude':
      return (layer) => once(layer, () => timesNorms(norms('gate', layer), norms('up', layer)))
  }
}

/** How sets come from a ranking; `seed` is for methods that draw. */
export type Choosing = { readonly rank: Ranker; readonly method: SelectionMethod; readonly seed: number }
export type SetOptions = Choosing & { readonly densities: readonly number[] }

/** The neurons that one sequence keeps in a layer, by rising index. Windows draw from seeds of their own. */
export function setOf(layer: number, window: number, statistic: GriffinStatistic, options: SetOptions): Int32Array {
  const { densities, rank, method, seed } = options
  const scores = rank(layer, statistic)
  const own = (seed + Math.imul(layer * 65_537 + window + 1, 0x9e3779b1)) >>> 0
  return selectNeurons(scores, keptNeurons(scores.length, densities[layer]!), method, own)
}

/** What zeroes, behind the prompt of every window, the neurons outside its set. Layers at density 1 are left alone. */
export function maskContinuations(
  statistics: WindowStatistics,
  T: number,
  promptTokens: number,
  options: SetOptions,
): (chunk: FfChunk) => void {
  return ({ layer, firstWindow, windows, z }) => {
    if (options.densities[layer] === 1) return
    const ff = z.length / (windows * T)
    for (let w = 0; w < windows; w++) {
      const window = firstWindow + w
      const kept = new Uint8Array(ff)
      for (const j of setOf(layer, window, statistics.prompt[layer]![window]!, options)) kept[j] = 1
      for (let row = w * T + promptTokens; row < (w + 1) * T; row++)
        for (let j = 0, at = row * ff; j < ff; j++, at++) if (kept[j] === 0) z[at] = 0
    }
  }
}
