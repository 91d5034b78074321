import { availableParallelism } from 'node:os'
import { UsageError } from '../../errors.ts'
import { defaultProvider } from '../provider.ts'
import { runtimeName } from '../open-decoder.ts'
import { peakRss, stopwatch } from '../stopwatch.ts'
import { evaluationText } from '../text.ts'
import type { EvaluateOptions, EvaluateResult, Quality } from '../types.ts'
import { referenceOf } from './griffin.ts'
import { openBench } from './griffin-bench.ts'
import { copyScores, copyTask } from './griffin-copy.ts'
import type { GriffinChoice, GriffinOption } from './griffin-option.ts'
import { griffinChoice, overridesOf } from './griffin-option.ts'
import { densityQuality } from './griffin-schedule.ts'
import { rankerOf } from './griffin-sets.ts'
import { openGriffinSource } from './griffin-source.ts'
import type { CopyScore } from './types.ts'

/** What `eval --griffin` says beside the quality with the neurons left out. */
export type GriffinEvaluation = GriffinChoice & {
  /** Tokens of a window that are its prompt; the targets are those behind it but the first. */
  readonly promptTokens: number
  /** The same targets with all neurons. */
  readonly all: Quality
  /** Passages that come a second time: with all neurons and without those left out. */
  readonly copy: {
    readonly passages: number
    readonly passageTokens: number
    readonly all: CopyScore
    readonly skipping: CopyScore
  }
}

/**
 * Perplexity behind prompts with the neurons that each prompt selects, against the dense model where it is there (an artifact
 * else against itself with all neurons), and the copy task. Not by domain: `domains` is empty.
 */
export async function evaluateGriffin(options: EvaluateOptions, option: GriffinOption): Promise<EvaluateResult> {
  const watch = stopwatch()
  const { model: folder, threads = availableParallelism(), sequenceLength = 256, onProgress } = options
  const promptTokens = options.promptTokens ?? Math.floor(sequenceLength / 2)
  if (!(promptTokens >= 1 && promptTokens <= sequenceLength - 2))
    throw new UsageError(
      `--prompt-tokens: got ${promptTokens} of windows of ${sequenceLength}, wanted 1 to ${sequenceLength - 2}`,
    )
  const provider = options.provider ?? defaultProvider()
  const source = await openGriffinSource(folder, provider)
  if (!source.artifact && options.dense !== undefined) {
    source.close()
    throw new UsageError(`--dense compares an artifact with its source: ${folder} is a dense model itself`)
  }
  try {
    const choice = griffinChoice(option, source, overridesOf(options))
    const text = options.text ? { text: options.text } : {}
    const windows = await evaluationText(folder, { ...text, windows: options.windows ?? 64, sequenceLength })
    const signal = options.signal ? { signal: options.signal } : {}
    const reference = await referenceOf(source, windows, options, threads)
    const walk = await source.walk(threads)
    try {
      const isCounted = choice.scores === 'count'
      const given = { windows, promptTokens, threads, isCounted, ...signal }
      const bench = await openBench(source, walk, { ...given, ...(reference ? { reference } : {}) })
      const choosing = { rank: rankerOf(source, choice.scores), method: choice.select, seed: choice.seed }
      onProgress?.({ stage: 'evaluate', done: 0, total: 3 })
      const all = await densityQuality(
        bench,
        Array.from(choice.densities, () => 1),
        choosing,
      )
      onProgress?.({ stage: 'evaluate', done: 1, total: 3 })
      const quality = await densityQuality(bench, choice.densities, choosing)
      onProgress?.({ stage: 'evaluate', done: 2, total: 3 })
      await bench.release()
      const task = copyTask(windows)
      const copying = { threads, isCounted, densities: [choice.densities], ...signal }
      const copied = await copyScores(source, walk, task, choosing, copying)
      const { passageTokens } = task
      const passages = task.windows.nWindows
      return {
        ...quality,
        model: folder,
        windows: windows.nWindows,
        sequenceLength,
        domains: {},
        runtime: `${runtimeName(source.decoder.kind, source.artifact ? provider : 'cpu')}, GRIFFIN`,
        ...(source.artifact && !reference
          ? { note: 'KL and agreement are those from the artifact with all neurons' }
          : {}),
        griffin: {
          ...choice,
          promptTokens,
          all,
          copy: { passages, passageTokens, all: copied.plain, skipping: copied.skipping[0]! },
        },
        peakBytes: peakRss(),
        wallMs: watch.totalMs(),
      }
    } finally {
      await walk.release()
    }
  } finally {
    source.close()
  }
}
