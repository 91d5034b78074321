import { availableParallelism } from 'node:os'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { Windows } from '../../../calibration/windows.ts'
import { UsageError } from '../../errors.ts'
import { staticOrder } from '../../predict/flocking.ts'
import type { SelectionMethod } from '../../predict/select.ts'
import { SELECTION_METHODS } from '../../predict/select.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import { TOOL_VERSION } from '../../version.ts'
import { openDense } from '../evaluate.ts'
import { defaultProvider } from '../provider.ts'
import { evaluationText } from '../text.ts'
import { halfBench, openBench } from './griffin-bench.ts'
import { copyScores, copyTask } from './griffin-copy.ts'
import { flockingOf, heatCollector } from './griffin-flocking.ts'
import type { GriffinBench } from './griffin-schedule.ts'
import { densityQuality, scheduleDensities } from './griffin-schedule.ts'
import type { Choosing, GriffinScores } from './griffin-sets.ts'
import { GRIFFIN_SCORES, rankerOf } from './griffin-sets.ts'
import type { GriffinSource } from './griffin-source.ts'
import { openGriffinSource } from './griffin-source.ts'
import type { Flocking, FlockingHeat, GriffinReport, PredictGriffinOptions } from './types.ts'
import { GRIFFIN_VERSION, STATISTIC_DEFINITION } from './types.ts'
import type { Walk } from './walk.ts'
import { openWalk } from './walk.ts'

/** Densities whose quality is always measured. */
const REPORTED = [0.75, 0.5, 0.25, 0.1, 0.05]

/** What predictGriffin() measured, and what only its page shows. */
export type GriffinResult = { readonly report: GriffinReport; readonly heat: readonly FlockingHeat[] }

/**
 * What GRIFFIN (arXiv 2404.01365) does to a dense model or to an artifact, measured: a density for every layer, an order of
 * neurons that needs no prompt, how much the selected sets agree, and the quality of the text behind a prompt at several
 * densities. Throws UsageError for options that cannot be meant.
 */
export async function predictGriffin(options: PredictGriffinOptions): Promise<GriffinResult> {
  const folder = options.model ?? demoModelFolder()
  const settings = settingsOf(options)
  const threads = options.threads ?? availableParallelism()
  const source = await openGriffinSource(folder, options.provider ?? defaultProvider())
  try {
    options.onProgress?.({ stage: 'load', done: 0, total: 1 })
    const text = options.text ? { text: options.text } : {}
    const windows = await evaluationText(folder, { ...settings, ...text })
    const reference = await referenceOf(source, windows, options, threads)
    const walk = await source.walk(threads)
    try {
      return await measured({ source, walk, windows, settings, threads, ...(reference ? { reference } : {}) }, options)
    } finally {
      await walk.release()
    }
  } finally {
    source.close()
  }
}

/** Hidden states of the dense model that an artifact was made from, if it is there. */
export async function referenceOf(
  { artifact, folder }: GriffinSource,
  windows: WindowIds,
  { dense, signal }: Pick<PredictGriffinOptions, 'dense' | 'signal'>,
  threads: number,
): Promise<Float32Array | undefined> {
  if (!artifact) return undefined
  const opened = await openDense({ model: folder, ...(dense === undefined ? {} : { dense }) }, artifact.manifest.source)
  if ('missing' in opened) return undefined
  try {
    const walk = await openWalk(opened.model, threads)
    try {
      return await walk.run({ windows, ...(signal ? { signal } : {}) })
    } finally {
      await walk.release()
    }
  } finally {
    opened.model.close()
  }
}

type Settings = Required<
  Pick<PredictGriffinOptions, 'density' | 'scores' | 'select' | 'seed' | 'windows' | 'sequenceLength' | 'promptTokens'>
> & {
  readonly klBudget: number | undefined
}

function settingsOf(options: PredictGriffinOptions): Settings {
  const {
    density = 0.5,
    scores = 'statistic',
    select = 'top-k',
    seed = 0,
    windows = 64,
    sequenceLength = 256,
    klBudget,
  } = options
  const promptTokens = options.promptTokens ?? Math.floor(sequenceLength / 2)
  if (!(density > 0 && density <= 1)) throw new UsageError(`--density: got ${density}, wanted above 0 and at most 1`)
  if (klBudget !== undefined && !(klBudget > 0))
    throw new UsageError(`--kl-budget: got ${klBudget}, wanted above 0 nats`)
  if (!(promptTokens >= 1 && promptTokens <= sequenceLength - 2))
    throw new UsageError(
      `--prompt-tokens: got ${promptTokens} of windows of ${sequenceLength}, wanted 1 to ${sequenceLength - 2}`,
    )
  if (klBudget !== undefined && windows < 4)
    throw new UsageError(
      `--windows: got ${windows}, wanted at least 4 with --kl-budget: densities are chosen on one half, checked on the other`,
    )
  if (windows < 2) throw new UsageError(`--windows: got ${windows}, wanted at least 2: sets of prompts are compared`)
  return { density, scores, select, seed, windows, sequenceLength, promptTokens, klBudget }
}

type Parts = {
  readonly source: GriffinSource
  readonly walk: Walk
  readonly windows: Windows
  readonly settings: Settings
  readonly threads: number
  readonly reference?: Float32Array
}

async function measured(parts: Parts, options: PredictGriffinOptions): Promise<GriffinResult> {
  const { source, walk, windows, settings, threads, reference } = parts
  const { promptTokens, sequenceLength, density, klBudget, scores, select, seed } = settings
  const { layers } = source.config
  options.onProgress?.({ stage: 'calibrate', done: 0, total: 1 })
  const heat = heatCollector(layers, sequenceLength, promptTokens)
  const signal = options.signal ? { signal: options.signal } : {}
  const given = { windows, promptTokens, threads, isCounted: true, onFf: heat.onFf, ...signal }
  const bench = await openBench(source, walk, { ...given, ...(reference ? { reference } : {}) })
  const choosing = choosingOf(source, settings)
  try {
    const quality = await qualityRows(bench, source, settings, options)
    const schedule =
      klBudget === undefined
        ? undefined
        : await checkedSchedule(parts, bench, klBudget, (done, total) =>
            options.onProgress?.({ stage: 'calibrate', done, total }),
          )
    const { densities = alike(layers, density), ...rest } = schedule ?? {}
    const report: GriffinReport = {
      formatVersion: GRIFFIN_VERSION,
      tool: { name: 'spexpand', version: TOOL_VERSION },
      source: source.origin,
      model: modelOf(source),
      statistic: STATISTIC_DEFINITION,
      scores,
      select,
      seed,
      densities,
      ...(schedule ? { schedule: { klBudget, ...rest } as NonNullable<GriffinReport['schedule']> } : {}),
      text: { windows: windows.nWindows, sequenceLength, promptTokens },
      reference: source.artifact && !reference ? 'self' : 'dense',
      dense: await densityQuality(bench, alike(layers, 1), choosing),
      quality,
      copy: await copyRows(parts, signal),
      flocking: flockingOf(bench.statistics, density),
      flockingCurve: REPORTED.map((at) => meanFlocking(flockingOf(bench.statistics, at))),
      order: bench.statistics.prompt.map((sequences) => [...staticOrder(sequences.map((one) => one.scores()))]),
    }
    return { report, heat: heat.maps }
  } finally {
    await bench.release()
  }
}

function modelOf({ artifact }: GriffinSource): GriffinReport['model'] {
  if (!artifact) return { kind: 'dense' }
  const { experts, router } = artifact.manifest.mixture
  return { kind: 'artifact', experts, router }
}

/** The densities that are always told, and the one wanted, falling. */
function reportedWith(density: number): number[] {
  return [...new Set([density, ...REPORTED])].sort((a, b) => b - a)
}

async function copyRows(
  { source, walk, windows, settings, threads }: Parts,
  signal: { readonly signal?: AbortSignal },
): Promise<GriffinReport['copy']> {
  const { layers } = source.config
  const task = copyTask(windows)
  const densities = reportedWith(settings.density)
  const isCounted = settings.scores === 'count'
  const wanted = { threads, isCounted, densities: densities.map((density) => alike(layers, density)), ...signal }
  const { plain, skipping } = await copyScores(source, walk, task, choosingOf(source, settings), wanted)
  return {
    passages: task.windows.nWindows,
    passageTokens: task.passageTokens,
    cueTokens: task.promptTokens - task.passageTokens,
    all: plain,
    densities: densities.map((density, i) => ({ density, ...skipping[i]! })),
  }
}

function meanFlocking(layers: readonly Flocking[]): Omit<Flocking, 'layer'> {
  const mean = (field: 'betweenPrompts' | 'promptToContinuation' | 'chance'): number =>
    layers.reduce((sum, one) => sum + one[field], 0) / layers.length
  return {
    density: layers[0]!.density,
    betweenPrompts: mean('betweenPrompts'),
    promptToContinuation: mean('promptToContinuation'),
    chance: mean('chance'),
  }
}

function alike(layers: number, density: number): number[] {
  return Array.from({ length: layers }, () => density)
}

/** Densities by layer, chosen on one half of the windows and checked on the other. */
async function checkedSchedule(
  { source, settings, threads }: Parts,
  whole: GriffinBench,
  klBudget: number,
  onStep: (done: number, total: number) => void,
): Promise<Omit<NonNullable<GriffinReport['schedule']>, 'klBudget'> & { readonly densities: readonly number[] }> {
  const bench = await halfBench(source, whole, 'even', threads)
  const checking = await halfBench(source, whole, 'odd', threads)
  try {
    const { nWindows: windows } = bench.windows
    const benches = { bench, checking }
    const schedule = await scheduleDensities(benches, choosingOf(source, settings), settings.density, klBudget, onStep)
    return { ...schedule, windows, heldOut: checking.windows.nWindows }
  } finally {
    await bench.release()
    await checking.release()
  }
}

/** The ranking and the method of some settings. */
function choosingOf(
  source: GriffinSource,
  { scores, select, seed }: Pick<Settings, 'scores' | 'select' | 'seed'>,
): Choosing {
  return { rank: rankerOf(source, scores), method: select, seed }
}

/**
 * All layers at one density: the wanted ranking and method at several, every other ranking and every other method at the
 * density wanted.
 */
async function qualityRows(
  bench: GriffinBench,
  source: GriffinSource,
  { density, scores, select, seed }: Settings,
  { onProgress }: PredictGriffinOptions,
): Promise<GriffinReport['quality']> {
  const points: [GriffinScores, SelectionMethod, number][] = [
    ...reportedWith(density).map((at): [GriffinScores, SelectionMethod, number] => [scores, select, at]),
    ...GRIFFIN_SCORES.filter((kind) => kind !== scores).map((kind): [GriffinScores, SelectionMethod, number] => [
      kind,
      select,
      density,
    ]),
    ...SELECTION_METHODS.filter((method) => method !== select).map(
      (method): [GriffinScores, SelectionMethod, number] => [scores, method, density],
    ),
  ]
  const rows: GriffinReport['quality'][number][] = []
  for (const [kind, method, at] of points) {
    onProgress?.({ stage: 'evaluate', done: rows.length, total: points.length })
    const choosing = choosingOf(source, { scores: kind, select: method, seed })
    const quality = await densityQuality(bench, alike(bench.layers, at), choosing)
    rows.push({ scores: kind, select: method, density: at, quality })
  }
  return rows
}
