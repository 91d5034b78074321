import type { WindowIds } from '../../verify/hidden.ts'
import type { GriffinBench } from './griffin-schedule.ts'
import type { WindowStatistics } from './griffin-sets.ts'
import { collectStatistics } from './griffin-sets.ts'
import type { GriffinSource } from './griffin-source.ts'
import { openGraphScorer } from './score.ts'
import type { FfChunk, Walk } from './walk.ts'

export type BenchOptions = {
  readonly windows: WindowIds
  /** Tokens of a window that are its prompt. */
  readonly promptTokens: number
  readonly threads: number
  /** Also count the tokens of prompts. @default false */
  readonly isCounted?: boolean
  /** Hears the intermediates of the plain run. @default nobody */
  readonly onFf?: (chunk: FfChunk) => void
  /**
   * Hidden states of the dense model, which quality is measured against; the head is taken to be the same. @default the
   * plain run of the source itself
   */
  readonly reference?: Float32Array
  readonly signal?: AbortSignal
}

/**
 * One plain run of a source over windows: statistics of every window, hidden states at every layer. To measure GRIFFIN with,
 * any number of times; release() frees what scores.
 */
export async function openBench(
  source: GriffinSource,
  walk: Walk,
  options: BenchOptions,
): Promise<GriffinBench & { release(): Promise<void> }> {
  const { windows, promptTokens, threads, signal } = options
  const { statistics, onFf } = collectStatistics(
    source,
    windows.nWindows,
    windows.sequenceLength,
    promptTokens,
    options.isCounted,
  )
  const layerInputs: Float32Array[] = []
  const given = signal ? { signal } : {}
  const plain = await walk.run({
    windows,
    onFf(chunk) {
      onFf(chunk)
      options.onFf?.(chunk)
    },
    onHidden: (_, hidden) => layerInputs.push(hidden.slice()),
    ...given,
  })
  const scorer = await openGraphScorer(source.decoder, windows, promptTokens, threads)
  return {
    layers: source.config.layers,
    walk,
    scorer,
    windows,
    promptTokens,
    statistics,
    plain,
    reference: options.reference ?? plain,
    layerInputs,
    ...given,
    release: () => scorer.release(),
  }
}

/**
 * Every other window of a bench, those with even numbers or those with odd ones: what is chosen on one half can be checked on
 * the other, and both see all of a text in order.
 */
export async function halfBench(
  source: GriffinSource,
  bench: GriffinBench,
  which: 'even' | 'odd',
  threads: number,
): Promise<GriffinBench & { release(): Promise<void> }> {
  const { windows, promptTokens, statistics } = bench
  const chosen = Array.from({ length: windows.nWindows }, (_, w) => w).filter((w) => w % 2 === Number(which === 'odd'))
  const sliced = <A extends Float32Array | Int32Array>(all: A): A => {
    const width = all.length / windows.nWindows
    const part = all.slice(0, chosen.length * width) as A
    for (const [i, w] of chosen.entries()) part.set(all.subarray(w * width, (w + 1) * width), i * width)
    return part
  }
  const half = { ids: sliced(windows.ids), nWindows: chosen.length, sequenceLength: windows.sequenceLength }
  const ofHalf = (all: WindowStatistics['prompt']): WindowStatistics['prompt'] =>
    all.map((layer) => chosen.map((w) => layer[w]!))
  const scorer = await openGraphScorer(source.decoder, half, promptTokens, threads)
  return {
    ...bench,
    scorer,
    windows: half,
    statistics: { prompt: ofHalf(statistics.prompt), continuation: ofHalf(statistics.continuation) },
    plain: sliced(bench.plain),
    reference: sliced(bench.reference),
    layerInputs: bench.layerInputs.map((hidden) => sliced(hidden)),
    release: () => scorer.release(),
  }
}
