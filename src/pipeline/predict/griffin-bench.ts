import type { WindowIds } from '../../verify/hidden.ts'
import type { GriffinBench } from './griffin-schedule.ts'
import { collectStatistics } from './griffin-sets.ts'
import type { GriffinSource } from './griffin-source.ts'
import { openGraphScorer } from './score.ts'
import type { FfChunk, Walk } from './walk.ts'

export type BenchOptions = {
  readonly windows: WindowIds
  /** Tokens of a window that are its prompt. */
  readonly promptTokens: number
  readonly threads: number
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
  const { statistics, onFf } = collectStatistics(source, windows.nWindows, windows.sequenceLength, promptTokens)
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
