import { availableParallelism } from 'node:os'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { UsageError } from '../../errors.ts'
import { createGram } from '../../linalg/gram.ts'
import type { Activation } from '../../model/config.ts'
import type { OpenedModel } from '../../model/open.ts'
import { openModel } from '../../model/open.ts'
import { ffMagnitude, keepPredicted, Recall } from '../../predict/hire.ts'
import { inputRoot, lowRank, truncated } from '../../predict/low-rank.ts'
import type { HirePredictor } from '../../predict/predictor.ts'
import { dequantizeRows, quantizeRows } from '../../predict/quantized-rows.ts'
import { createBlas } from '../../runtime/blas.ts'
import type { Blas } from '../../tensor/blas.ts'
import type { Mat } from '../../tensor/mat.ts'
import { matOf } from '../../tensor/mat.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import { openTailScorer } from './score.ts'
import type { FfChunk, Walk } from './walk.ts'
import { openWalk } from './walk.ts'
import { calibrationText, evaluationText } from '../text.ts'
import type { Quality, TextSource } from '../types.ts'

export type PredictHireOptions = {
  /** Dense model folder. @default the embedded demo model */
  readonly model?: string
  readonly predictors: readonly HirePredictor[]
  /** Text that the second moments of the FF inputs are taken from. @default the bundled calibration text */
  readonly calibration?: TextSource
  /** @default 16384 */
  readonly tokens?: number
  /** Text that recall and quality are measured on. @default the bundled evaluation text */
  readonly text?: TextSource
  /** @default 16 */
  readonly windows?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** Shares of neurons k / ff that count. @default [0.1, 0.25] */
  readonly shares?: readonly number[]
  /** Over-selections k' / k. @default [1, 1.5, 2] */
  readonly over?: readonly number[]
  /** Also measure quality with all k' kept, at the largest over-selection. @default false */
  readonly quality?: boolean
  readonly threads?: number
  readonly signal?: AbortSignal
}

export type HireRow = {
  readonly predictor: HirePredictor
  readonly share: number
  /** Mean recall over layers for every over-selection, and by layer: [layer][i]. */
  readonly recall: readonly number[]
  readonly layerRecall: readonly (readonly number[])[]
  readonly quality?: Quality
}

/**
 * The two matrices of a predictor of one layer, each as a chain of products x → x · Aᵀ → …: one matrix, or V then U.
 */
export type Chains = {
  /** Absent in layers without a gate. */
  readonly gate?: readonly Mat[]
  readonly up: readonly Mat[]
  readonly gateBias?: Float32Array
  readonly upBias?: Float32Array
  readonly activation: Activation
}

/**
 * HiRE's predictors (arXiv 2402.09360) on the FF layers of a dense model: how many of the true top k neurons of
 * |silu(gate x) · up x| are among the k' predicted, averaged over tokens, and what computing only those does to
 * perplexity.
 */
export async function predictHire(options: PredictHireOptions): Promise<HireRow[]> {
  const { predictors, tokens = 16_384, windows: count = 16, sequenceLength = 256, signal } = options
  const folder = options.model ?? demoModelFolder()
  const model = openModel(folder)
  const threads = options.threads ?? availableParallelism()
  const blas = await createBlas(threads)
  const given = signal ? { signal } : {}
  try {
    assertPredictors(predictors, model)
    const source = options.calibration ? { text: options.calibration } : {}
    const calibration = await calibrationText(model, {
      ...source,
      tokens,
      sequenceLength,
      seed: 0,
    })
    const text = options.text ? { text: options.text } : {}
    const windows = await evaluationText(folder, { ...text, windows: count, sequenceLength })
    const walk = await openWalk(model, threads)
    try {
      const moments = await inputMoments(model, blas, (onFf) => walk.run({ windows: calibration, onFf, ...given }))
      const chains: Chains[][] = []
      for (const [layer, C] of moments.entries()) chains.push(await chainsOf(model, blas, layer, C, predictors))
      const { rows, dense } = await measureRecall(walk, windows, blas, chains, options)
      if (!options.quality) return rows
      return await withQuality({ model, walk, windows, blas, chains, dense, threads }, rows, options)
    } finally {
      await walk.release()
    }
  } finally {
    model.close()
  }
}

function assertPredictors(predictors: readonly HirePredictor[], { config }: OpenedModel): void {
  for (const predictor of predictors)
    if (predictor.kind === 'lr' && !(predictor.rank >= 1 && predictor.rank <= config.hidden))
      throw new UsageError(`HiRE: got rank ${predictor.rank}, wanted 1 to ${config.hidden}, the width of the FF input`)
}

/** E[x xᵀ] of the FF inputs of every layer, (d, d) each. */
async function inputMoments(
  { config }: OpenedModel,
  blas: Blas,
  run: (onFf: (chunk: FfChunk) => Promise<void>) => Promise<unknown>,
): Promise<Float32Array[]> {
  const sums = Array.from({ length: config.layers }, () => createGram(blas, config.hidden))
  const rows = sums.map(() => 0)
  await run(async ({ layer, x }) => {
    rows[layer]! += x.length / config.hidden
    await sums[layer]!.add(x)
  })
  const totals = await Promise.all(sums.map((sum) => sum.finish()))
  return totals.map((S, layer) => S.map((value) => value / rows[layer]!))
}

/** The matrices of all predictors of a layer; factors are computed once, at the largest rank. */
async function chainsOf(
  model: OpenedModel,
  blas: Blas,
  layer: number,
  C: Float32Array,
  predictors: readonly HirePredictor[],
): Promise<Chains[]> {
  const { ff, hidden } = model.config
  const ranks = predictors.flatMap((predictor) => (predictor.kind === 'lr' ? [predictor.rank] : []))
  const root = ranks.length > 0 ? inputRoot(C, hidden) : undefined
  const chainsFor = async (role: 'gate' | 'up'): Promise<Mat[][]> => {
    const W = matOf(ff, hidden, model.matrix(role, layer))
    const factors = root && (await lowRank(blas, W, root, Math.max(...ranks)))
    return predictors.map((predictor) => {
      if (predictor.kind === 'q') return [dequantizeRows(quantizeRows(W, predictor.bits, predictor.groupSize))]
      const { U, V } = truncated(factors!, predictor.rank)
      return [V, U]
    })
  }
  const gate = model.has('gate') ? await chainsFor('gate') : undefined
  const up = await chainsFor('up')
  const bias = (role: 'gate' | 'up'): Float32Array | undefined =>
    model.has(role) && model.config.biases.includes(role)
      ? model.weights.readF32(model.tensorName(role, layer, 'bias'))
      : undefined
  const [gateBias, upBias] = [bias('gate'), bias('up')]
  return predictors.map((_, i) => ({
    ...(gate ? { gate: gate[i]! } : {}),
    up: up[i]!,
    ...(gateBias ? { gateBias } : {}),
    ...(upBias ? { upBias } : {}),
    activation: model.config.activation,
  }))
}

/** |act(gate~ x) · up~ x|, without a gate |act(up~ x)|, of rows x (n, d) → (n, ff). */
export async function predictedScores(
  blas: Blas,
  { gate, up, gateBias, upBias, activation }: Chains,
  x: Float32Array,
): Promise<Float32Array> {
  const through = async (matrices: readonly Mat[], bias: Float32Array | undefined): Promise<Float32Array> => {
    let rows = x
    for (const A of matrices) {
      const n = rows.length / A.cols
      const out = new Float32Array(n * A.rows)
      await blas.gemm(n, A.rows, A.cols, rows, A.data, out, { transB: true })
      rows = out
    }
    if (bias) for (let at = 0; at < rows.length; at++) rows[at] += bias[at % bias.length]!
    return rows
  }
  return ffMagnitude(activation, gate && (await through(gate, gateBias)), await through(up, upBias))
}

async function measureRecall(
  walk: Walk,
  windows: WindowIds,
  blas: Blas,
  chains: readonly (readonly Chains[])[],
  { predictors, shares = [0.1, 0.25], over = [1, 1.5, 2], signal }: PredictHireOptions,
): Promise<{ rows: HireRow[]; dense: Float32Array }> {
  const ff = chains[0]![0]!.up.at(-1)!.rows
  const meters = chains.map(() =>
    predictors.map(() =>
      shares.map((share) => {
        const k = Math.round(share * ff)
        return new Recall(
          ff,
          k,
          over.map((factor) => Math.min(ff, Math.round(factor * share * ff))),
        )
      }),
    ),
  )
  const onFf = async ({ layer, x, z }: FfChunk): Promise<void> => {
    const exact = z.map((value) => Math.abs(value))
    for (const [p, chain] of chains[layer]!.entries()) {
      const predicted = await predictedScores(blas, chain, x)
      for (const meter of meters[layer]![p]!) meter.add(exact, predicted)
    }
  }
  const dense = await walk.run({ windows, onFf, ...(signal ? { signal } : {}) })
  const rows = predictors.flatMap((predictor, p) =>
    shares.map((share, s): HireRow => {
      const layerRecall = meters.map((layer) => layer[p]![s]!.means())
      const recall = over.map((_, i) => layerRecall.reduce((sum, means) => sum + means[i]!, 0) / layerRecall.length)
      return { predictor, share, recall, layerRecall }
    }),
  )
  return { rows, dense }
}

/** Adds the quality of the model with only the k' predicted neurons of every token, of the largest over-selection. */
async function withQuality(
  bench: {
    readonly model: OpenedModel
    readonly walk: Walk
    readonly windows: Awaited<ReturnType<typeof evaluationText>>
    readonly blas: Blas
    readonly chains: readonly (readonly Chains[])[]
    readonly dense: Float32Array
    readonly threads: number
  },
  rows: readonly HireRow[],
  { predictors, over = [1, 1.5, 2], signal }: PredictHireOptions,
): Promise<HireRow[]> {
  const { model, walk, windows, blas, chains, dense, threads } = bench
  const scorer = await openTailScorer(model, windows, 0, threads)
  const { ff } = model.config
  try {
    const measured: HireRow[] = []
    for (const row of rows) {
      const p = predictors.indexOf(row.predictor)
      const kPrime = Math.min(ff, Math.round(Math.max(...over) * row.share * ff))
      const onFf = async ({ layer, x, z }: FfChunk): Promise<void> =>
        keepPredicted(z, await predictedScores(blas, chains[layer]![p]!, x), ff, kPrime)
      const hidden = await walk.run({ windows, onFf, ...(signal ? { signal } : {}) })
      measured.push({ ...row, quality: await scorer.quality(hidden, dense) })
    }
    return measured
  } finally {
    await scorer.release()
  }
}
