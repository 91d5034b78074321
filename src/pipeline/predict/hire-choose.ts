import { InterruptedError } from '../../errors.ts'
import type { Activation } from '../../model/config.ts'
import type { OpenedModel } from '../../model/open.ts'
import { permuteColumns, permuteRows } from '../../predict/groups.ts'
import { ffMagnitude } from '../../predict/hire.ts'
import { inputRoot } from '../../predict/low-rank.ts'
import type { HireLayer, HirePredictor } from '../../predict/predictor.ts'
import { predictorBytes } from '../../predict/predictor.ts'
import { RankRecall } from '../../predict/rank-recall.ts'
import type { Blas } from '../../tensor/blas.ts'
import { DTYPE_BYTES } from '../../tensor/dtype.ts'
import { matOf } from '../../tensor/mat.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import type { MadePredictor } from './hire-predictors.ts'
import { makePredictors, throughChain } from './hire-predictors.ts'
import type { FfStatistics } from './hire-source.ts'
import type { HireCandidate } from './hire-types.ts'
import type { FfChunk, Walk } from './walk.ts'

/** Added to the score of a neuron that is always selected: above every score, and its square is still finite. */
export const BONUS = 1e15
/** Over-selections that the tables show. */
const OVER = [1, 1.5, 2, 3, 4]

/** One way to predict an FF layer, with what it found on the choosing text. */
export type FfCandidate = {
  readonly predictor: HirePredictor
  /** Absent in layers without a gate. */
  readonly gate?: MadePredictor
  readonly up: MadePredictor
  readonly recall: RankRecall
}

/** All ways for one layer. */
export type FfCandidates = {
  readonly layer: number
  readonly candidates: readonly FfCandidate[]
  readonly always: Int32Array
  readonly order?: Int32Array
}

/** What scores need of a model beside its predictors. */
export type ScoringOptions = { readonly group: number; readonly ff: number; readonly activation: Activation }

/** Makes the predictors of every layer and measures all of them in one walk through the choosing text. */
export async function ffCandidates(
  bench: {
    readonly model: OpenedModel
    readonly walk: Walk
    readonly blas: Blas
    readonly windows: WindowIds
    readonly statistics: readonly FfStatistics[]
    readonly forms: readonly HirePredictor[]
  },
  options: { readonly k: number; readonly group: number; readonly always?: number; readonly signal?: AbortSignal },
): Promise<FfCandidates[]> {
  const { model, walk, blas, windows, statistics, forms } = bench
  const { ff, activation } = model.config
  const layers: FfCandidates[] = []
  for (const [layer, { C, activity, order }] of statistics.entries()) {
    if (options.signal?.aborted) throw new InterruptedError('Interrupted while predicting: run the same command again')
    const root = forms.some(({ kind }) => kind === 'lr') ? inputRoot(C, model.config.hidden) : undefined
    const made = async (role: 'gate' | 'up'): Promise<MadePredictor[]> => {
      const W = model.matrix(role, layer)
      const made = await makePredictors(
        blas,
        matOf(ff, model.config.hidden, order ? permuteRows(W, order) : W),
        root,
        forms,
      )
      if (!model.config.biases.includes(role)) return made
      const bias = model.weights.readF32(model.tensorName(role, layer, 'bias'))
      return made.map((one) => ({ ...one, bias: order ? permuteRows(bias, order) : bias }))
    }
    const gate = model.has('gate') ? await made('gate') : undefined
    const up = await made('up')
    const candidates = forms.map((predictor, i) => ({
      predictor,
      ...(gate ? { gate: gate[i]! } : {}),
      up: up[i]!,
      recall: new RankRecall(ff, options.k),
    }))
    const ordered = order ? Float32Array.from(order, (j) => activity[j]!) : activity
    layers.push({ layer, candidates, always: alwaysActive(ordered, options.always), ...(order ? { order } : {}) })
  }
  const onFf = async ({ layer, x, z }: FfChunk): Promise<void> => {
    const { candidates, order } = layers[layer]!
    const exact = (order ? permuteColumns(z, order) : z).map((value) => Math.abs(value))
    for (const candidate of candidates)
      candidate.recall.add(
        exact,
        await scoresOf(blas, candidate, layers[layer]!.always, x, { ...options, ff, activation }),
      )
  }
  await walk.run({ windows, onFf, ...(options.signal ? { signal: options.signal } : {}) })
  return layers
}

/** What neurons are selected by: the predicted magnitude, the bonus, and with groups the sum of squares of the group. */
export async function scoresOf(
  blas: Blas,
  { gate, up }: Pick<FfCandidate, 'gate' | 'up'>,
  always: Int32Array,
  x: Float32Array,
  { group, ff, activation }: ScoringOptions,
): Promise<Float32Array> {
  const scores = ffMagnitude(activation, gate && (await rowsOf(blas, gate, x)), await rowsOf(blas, up, x))
  for (let row = 0; row < scores.length; row += ff) for (const j of always) scores[row + j] += BONUS
  if (group === 1) return scores
  for (let at = 0; at < scores.length; at += group) {
    let sum = 0
    for (let j = at; j < at + group; j++) sum += scores[j] * scores[j]
    scores.fill(sum, at, at + group)
  }
  return scores
}

/** Rows x through a predictor, its bias added. */
async function rowsOf(blas: Blas, { chain, bias }: MadePredictor, x: Float32Array): Promise<Float32Array> {
  const rows = await throughChain(blas, chain, x)
  if (bias) for (let at = 0; at < rows.length; at++) rows[at] += bias[at % bias.length]!
  return rows
}

/** For every layer the form that reads the fewest bytes a token among those that reach the recall. */
export function chooseLayers(
  { config, weights, tensorName, has }: OpenedModel,
  layers: readonly FfCandidates[],
  wanted: { readonly recall: number; readonly group: number; readonly k: number },
): { readonly chosen: HireLayer[]; readonly candidates: HireCandidate[] } {
  const all: HireCandidate[] = []
  const chosen = layers.map(({ layer, candidates, always }): HireLayer => {
    const matrices = has('gate') ? 3 : 2
    const rowBytes = matrices * config.hidden * DTYPE_BYTES[weights.get(tensorName('up', layer)).dtype]
    const rated = candidates.map(({ predictor, recall }): HireCandidate => {
      const kPrime = Math.max(recall.smallest(wanted.recall, wanted.group), always.length)
      const bytes = (matrices - 1) * predictorBytes(predictor, config.ff, config.hidden) + kPrime * rowBytes
      return { where: layer, predictor, kPrime, bytes, recall: recallTable(recall) }
    })
    all.push(...rated)
    const best = rated.reduce((least, one) => (one.bytes < least.bytes ? one : least))
    const kPrime = Math.ceil(best.kPrime / wanted.group) * wanted.group
    const recall = candidates[rated.indexOf(best)]!.recall.at(kPrime)
    const { k, group } = wanted
    return { layer, predictor: best.predictor, k, kPrime, group, always: always.length, recall }
  })
  return { chosen, candidates: all }
}

/** Recall at some over-selections. */
export function recallTable(recall: RankRecall): HireCandidate['recall'] {
  return OVER.map((factor) => Math.round(factor * recall.k))
    .filter((kPrime) => kPrime <= recall.width)
    .map((kPrime) => ({ kPrime, recall: recall.at(kPrime) }))
}

function alwaysActive(activity: Float32Array, share: number | undefined): Int32Array {
  if (share === undefined) return new Int32Array(0)
  return Int32Array.from([...activity.keys()].filter((j) => activity[j]! >= share))
}
