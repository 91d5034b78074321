import { UsageError } from '../../errors.ts'
import { createRng } from '../../linalg/rng.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import { openBench } from './griffin-bench.ts'
import { densityScores } from './griffin-schedule.ts'
import type { Choosing } from './griffin-sets.ts'
import type { GriffinSource } from './griffin-source.ts'
import type { CopyScore } from './types.ts'
import type { Walk } from './walk.ts'

/** Most passages, tokens of one, and tokens of its second occurrence that still belong to the prompt. */
const PASSAGES = 16
const PASSAGE_TOKENS = 64
const CUE_TOKENS = 4

/** Passages that come twice, and where the prompt ends. */
export type CopyTask = { readonly windows: WindowIds; readonly passageTokens: number; readonly promptTokens: number }

/**
 * A text that only copying predicts: tokens of real windows in random order, each passage twice. Its first occurrence and a
 * few tokens of the second are the prompt. Equal windows give equal passages. Throws UsageError for windows too short.
 */
export function copyTask({ ids, nWindows, sequenceLength: T }: WindowIds): CopyTask {
  const P = Math.min(PASSAGE_TOKENS, Math.floor(T / 2))
  if (P < CUE_TOKENS + 2)
    throw new UsageError(
      `Cannot make passages to copy from windows of ${T} tokens: wanted at least ${2 * (CUE_TOKENS + 2)}`,
    )
  const passages = Math.min(PASSAGES, nWindows)
  const twice = new Int32Array(passages * 2 * P)
  const { uniform } = createRng(0)
  for (let w = 0; w < passages; w++) {
    const passage = ids.slice(w * T, w * T + P)
    for (let i = P - 1; i > 0; i--) {
      const j = Math.floor(uniform() * (i + 1))
      const held = passage[i]!
      passage[i] = passage[j]!
      passage[j] = held
    }
    twice.set(passage, w * 2 * P)
    twice.set(passage, (2 * w + 1) * P)
  }
  const windows = { ids: twice, nWindows: passages, sequenceLength: 2 * P }
  return { windows, passageTokens: P, promptTokens: P + CUE_TOKENS }
}

/** How well second occurrences are predicted: without skipping, and by densities of the layers. */
export async function copyScores(
  source: GriffinSource,
  walk: Walk,
  task: CopyTask,
  choosing: Choosing,
  options: {
    readonly threads: number
    readonly isCounted?: boolean
    readonly densities: readonly (readonly number[])[]
    readonly signal?: AbortSignal
  },
): Promise<{ plain: CopyScore; skipping: CopyScore[] }> {
  const bench = await openBench(source, walk, { ...options, ...task })
  try {
    const scored = async (densities: readonly number[]): Promise<CopyScore> => {
      const { quality, accuracy } = await densityScores(bench, densities, choosing)
      return { accuracy, nll: quality.nll }
    }
    const plain = await scored(Array.from({ length: source.config.layers }, () => 1))
    const skipping: CopyScore[] = []
    for (const densities of options.densities) skipping.push(await scored(densities))
    return { plain, skipping }
  } finally {
    await bench.release()
  }
}
