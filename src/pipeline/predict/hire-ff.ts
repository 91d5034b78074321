import { SolverError, UsageError } from '../../errors.ts'
import type { OpenedModel } from '../../model/open.ts'
import { keepPredicted } from '../../predict/hire.ts'
import { permuteColumns } from '../../predict/groups.ts'
import type { HireLayer } from '../../predict/predictor.ts'
import type { Blas } from '../../tensor/blas.ts'
import type { FfCandidates } from './hire-choose.ts'
import { chooseLayers, ffCandidates, scoresOf } from './hire-choose.ts'
import type { HireSettings, HireWindows } from './hire-settings.ts'
import type { FfStatistics } from './hire-source.ts'
import { ffStatistics } from './hire-source.ts'
import type { HireCandidate } from './hire-types.ts'
import { openTailScorer } from './score.ts'
import type { FfChunk, Walk } from './walk.ts'
import { openWalk } from './walk.ts'

/** Rounded rows depend on the weights alone. */
const NO_STATISTICS: FfStatistics = { C: new Float32Array(0), activity: new Float32Array(0) }

/** Recalls that a KL budget chooses from, the cheapest first; every neuron is the last resort. */
const RECALLS = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1]

export type FfChoice = {
  readonly layers: readonly FfCandidates[]
  readonly chosen: readonly HireLayer[]
  readonly candidates: readonly HireCandidate[]
  /** KL on the choosing text, where there is a budget. */
  readonly kl?: number
}

/**
 * Predictors of all FF layers, rank and k' of each for the recall wanted; with a KL budget, for the lowest recall of a
 * ladder that keeps the budget on the choosing text, all layers together.
 */
export async function chooseFf(
  model: OpenedModel,
  blas: Blas,
  windows: HireWindows,
  settings: HireSettings,
): Promise<FfChoice> {
  const { ff, layers } = model.config
  const { group, share, forms, threads, onProgress } = settings
  if (ff % group !== 0) throw new UsageError(`--group: got ${group}, wanted a divisor of the ${ff} neurons of a layer`)
  const k = Math.max(1, Math.round(share * ff))
  const walk = await openWalk(model, threads)
  try {
    onProgress?.({ stage: 'calibrate', done: 0, total: layers })
    const needsText = settings.kind === 'lr' || group > 1 || settings.always !== undefined
    const statistics = needsText
      ? await ffStatistics(model, walk, blas, windows.calibration, { ...settings, k })
      : Array.from({ length: layers }, () => NO_STATISTICS)
    onProgress?.({ stage: 'solve', done: 0, total: layers })
    const bench = { model, walk, blas, windows: windows.choosing, statistics, forms }
    const all = await ffCandidates(bench, { ...settings, k })
    const at = (recall: number): ReturnType<typeof chooseLayers> => chooseLayers(model, all, { recall, group, k })
    if (settings.klBudget === undefined) return { layers: all, ...at(settings.recall) }
    const { recall, kl } = await recallWithin(model, blas, walk, windows, settings, all, (wanted) => at(wanted).chosen)
    return { layers: all, ...at(recall), kl }
  } finally {
    await walk.release()
  }
}

/** The lowest recall of the ladder whose KL is within the budget: KL falls with recall, so halves are thrown away. */
async function recallWithin(
  model: OpenedModel,
  blas: Blas,
  walk: Walk,
  { choosing }: HireWindows,
  { klBudget, keep, threads, signal }: HireSettings,
  layers: readonly FfCandidates[],
  chosenAt: (recall: number) => readonly HireLayer[],
): Promise<{ recall: number; kl: number }> {
  const domains = new Uint16Array(choosing.ids.length)
  const scorer = await openTailScorer(model, { ...choosing, domains, domainNames: ['text'] }, 0, threads)
  const given = signal ? { signal } : {}
  try {
    const dense = await walk.run({ windows: choosing, ...given })
    const klAt = async (recall: number): Promise<number> => {
      const chosen = chosenAt(recall)
      const onFf = (chunk: FfChunk): Promise<void> =>
        keepChosen(blas, layers[chunk.layer]!, chosen[chunk.layer]!, chunk, model.config, keep)
      return (await scorer.quality(await walk.run({ windows: choosing, onFf, ...given }), dense)).kl!
    }
    let [low, high] = [0, RECALLS.length - 1]
    let kl = Number.NaN
    while (low < high) {
      const middle = (low + high) >> 1
      const found = await klAt(RECALLS[middle]!)
      if (found <= klBudget!) [high, kl] = [middle, found]
      else low = middle + 1
    }
    if (Number.isNaN(kl)) kl = await klAt(RECALLS[high]!)
    if (kl > klBudget!)
      throw new SolverError(
        `Cannot keep the KL of HiRE within ${klBudget}: at recall 1 it is ${kl}: raise --kl-budget or --rank`,
      )
    return { recall: RECALLS[high]!, kl }
  } finally {
    await scorer.release()
  }
}

/** Zeroes what HiRE would not compute. */
async function keepChosen(
  blas: Blas,
  { candidates, always, order }: FfCandidates,
  { predictor, k, kPrime, group }: HireLayer,
  { x, z }: FfChunk,
  { ff, activation }: OpenedModel['config'],
  keep: 'all' | 'k',
): Promise<void> {
  const candidate = candidates.find((one) => one.predictor === predictor)!
  const scores = await scoresOf(blas, candidate, always, x, { group, ff, activation })
  // Scores are in the new order of the neurons, intermediates in the old one.
  const placed = order ? permuteColumns(scores, inverse(order)) : scores
  keepPredicted(z, placed, ff, kPrime, keep === 'k' ? k : undefined)
}

function inverse(order: Int32Array): Int32Array {
  const places = new Int32Array(order.length)
  for (const [i, j] of order.entries()) places[j] = i
  return places
}
