import { availableParallelism } from 'node:os'
import { basename, resolve } from 'node:path'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { Windows } from '../../../calibration/windows.ts'
import { UsageError } from '../../errors.ts'
import type { OpenedModel } from '../../model/open.ts'
import { openModel } from '../../model/open.ts'
import { chanceJaccard, jaccard, meanPairJaccard, staticOrder } from '../../predict/flocking.ts'
import { keptNeurons } from '../../predict/griffin.ts'
import { selectNeurons } from '../../predict/select.ts'
import { TOOL_VERSION } from '../../version.ts'
import { sourceHash } from '../fingerprint.ts'
import type { GriffinBench } from './griffin-schedule.ts'
import { densityQuality, scheduleDensities } from './griffin-schedule.ts'
import type { GriffinScores, WindowStatistics } from './griffin-sets.ts'
import { collectStatistics, GRIFFIN_SCORES, rankerOf } from './griffin-sets.ts'
import { openTailScorer } from './score.ts'
import { openWalk } from './walk.ts'
import { evaluationText } from '../text.ts'
import type { Flocking, GriffinReport, PredictGriffinOptions } from './types.ts'
import { GRIFFIN_VERSION, STATISTIC_DEFINITION } from './types.ts'

/** Densities whose quality is always measured. */
const REPORTED = [0.75, 0.5, 0.25]
/** Sets that are compared pair by pair; the pairs grow with the square. */
const FLOCKING_WINDOWS = 32

/**
 * What GRIFFIN (arXiv 2404.01365) does to a dense model, measured: a density for every layer, an order of neurons
 * that needs no prompt, how much the selected sets agree, and the quality of the text behind a prompt at several
 * densities. Throws UsageError for options that cannot be meant.
 */
export async function predictGriffin(options: PredictGriffinOptions): Promise<GriffinReport> {
  const folder = options.model ?? demoModelFolder()
  const settings = settingsOf(options)
  const model = openModel(folder)
  try {
    options.onProgress?.({ stage: 'load', done: 0, total: 1 })
    const text = options.text ? { text: options.text } : {}
    const windows = await evaluationText(folder, { ...settings, ...text })
    return await measured(model, windows, settings, options)
  } finally {
    model.close()
  }
}

type Settings = Required<
  Pick<PredictGriffinOptions, 'density' | 'scores' | 'windows' | 'sequenceLength' | 'promptTokens'>
> & {
  readonly klBudget: number | undefined
}

function settingsOf(options: PredictGriffinOptions): Settings {
  const { density = 0.5, scores = 'statistic', windows = 64, sequenceLength = 256, klBudget } = options
  const promptTokens = options.promptTokens ?? Math.floor(sequenceLength / 2)
  if (!(density > 0 && density <= 1)) throw new UsageError(`--density: got ${density}, wanted above 0 and at most 1`)
  if (klBudget !== undefined && !(klBudget > 0))
    throw new UsageError(`--kl-budget: got ${klBudget}, wanted above 0 nats`)
  if (!(promptTokens >= 1 && promptTokens <= sequenceLength - 2))
    throw new UsageError(
      `--prompt-tokens: got ${promptTokens} of windows of ${sequenceLength}, wanted 1 to ${sequenceLength - 2}`,
    )
  if (windows < 2) throw new UsageError(`--windows: got ${windows}, wanted at least 2: sets of prompts are compared`)
  return { density, scores, windows, sequenceLength, promptTokens, klBudget }
}

async function measured(
  model: OpenedModel,
  windows: Windows,
  settings: Settings,
  options: PredictGriffinOptions,
): Promise<GriffinReport> {
  const { promptTokens, sequenceLength, density, klBudget, scores } = settings
  const threads = options.threads ?? availableParallelism()
  const walk = await openWalk(model, threads)
  const scorer = await openTailScorer(model, windows, promptTokens, threads)
  try {
    options.onProgress?.({ stage: 'calibrate', done: 0, total: 1 })
    const bench = await openBench({ model, walk, scorer, windows, promptTokens }, options.signal)
    const quality = await qualityRows(bench, settings, options)
    const schedule =
      klBudget === undefined
        ? undefined
        : await scheduleDensities(bench, rankerOf(model, scores), density, klBudget, (done, total) =>
            options.onProgress?.({ stage: 'calibrate', done, total }),
          )
    const { densities = alike(model, density), ...rest } = schedule ?? {}
    return {
      formatVersion: GRIFFIN_VERSION,
      tool: { name: 'spexpand', version: TOOL_VERSION },
      source: { name: basename(resolve(model.folder)), sha256: sourceHash(model).sha256 },
      statistic: STATISTIC_DEFINITION,
      scores,
      densities,
      ...(schedule ? { schedule: { klBudget, ...rest } as NonNullable<GriffinReport['schedule']> } : {}),
      text: { windows: windows.nWindows, sequenceLength, promptTokens },
      dense: await scorer.quality(bench.dense, bench.dense),
      quality,
      flocking: flockingOf(bench.statistics, density),
      order: bench.statistics.prompt.map((sequences) => [...staticOrder(sequences.map((one) => one.scores()))]),
    }
  } finally {
    await scorer.release()
    await walk.release()
  }
}

/** One dense run: statistics of every window, hidden states at every layer. */
async function openBench(
  parts: Pick<GriffinBench, 'model' | 'walk' | 'scorer' | 'windows' | 'promptTokens'>,
  signal: AbortSignal | undefined,
): Promise<GriffinBench> {
  const { model, walk, windows, promptTokens } = parts
  const { statistics, onFf } = collectStatistics(model, windows.nWindows, windows.sequenceLength, promptTokens)
  const layerInputs: Float32Array[] = []
  const given = signal ? { signal } : {}
  const onHidden = (_: number, hidden: Float32Array): unknown => layerInputs.push(hidden.slice())
  const dense = await walk.run({ windows, onFf, onHidden, ...given })
  return { ...parts, statistics, dense, layerInputs, ...given }
}

function alike({ config }: OpenedModel, density: number): number[] {
  return Array.from({ length: config.layers }, () => density)
}

/** All layers at one density: the wanted ranking at several, every ranking at the density wanted. */
async function qualityRows(
  bench: GriffinBench,
  { density, scores }: Settings,
  { onProgress }: PredictGriffinOptions,
): Promise<GriffinReport['quality']> {
  const points: [GriffinScores, number][] = [
    ...[...new Set([density, ...REPORTED])].map((at): [GriffinScores, number] => [scores, at]),
    ...GRIFFIN_SCORES.filter((kind) => kind !== scores).map((kind): [GriffinScores, number] => [kind, density]),
  ]
  const rows: GriffinReport['quality'][number][] = []
  for (const [kind, at] of points) {
    onProgress?.({ stage: 'evaluate', done: rows.length, total: points.length })
    const quality = await densityQuality(bench, alike(bench.model, at), rankerOf(bench.model, kind))
    rows.push({ scores: kind, density: at, quality })
  }
  return rows
}

/** How much selected sets have in common, layer by layer, at one density. */
function flockingOf(statistics: WindowStatistics, density: number): Flocking[] {
  return statistics.prompt.map((sequences, layer) => {
    const ff = sequences[0]!.squares.length
    const k = keptNeurons(ff, density)
    const compared = Math.min(FLOCKING_WINDOWS, sequences.length)
    const prompts = sequences.slice(0, compared).map((one) => selectNeurons(one.scores(), k))
    const after = statistics.continuation[layer]!.slice(0, compared).map((one) => selectNeurons(one.scores(), k))
    const own = prompts.map((set, i) => jaccard(set, after[i]!))
    return {
      layer,
      density,
      betweenPrompts: meanPairJaccard(prompts),
      promptToContinuation: own.reduce((a, b) => a + b) / own.length,
      chance: chanceJaccard(k, ff),
    }
  })
}
