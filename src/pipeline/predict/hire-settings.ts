import { availableParallelism } from 'node:os'
import { UsageError } from '../../errors.ts'
import type { HirePredictor } from '../../predict/predictor.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import type { HireOptions } from './hire-types.ts'

type Filled = 'kind' | 'recall' | 'share' | 'softmaxK' | 'group' | 'keep' | 'tokens' | 'choosingTokens'

/** Options with their defaults, and the predictors to choose from. */
export type HireSettings = Required<Pick<HireOptions, Filled | 'seed' | 'sequenceLength' | 'threads'>> &
  Pick<HireOptions, 'klBudget' | 'always' | 'signal' | 'onProgress'> & { readonly forms: readonly HirePredictor[] }

/** The two texts of one source: statistics come from the first, choices from the second. */
export type HireWindows = { readonly calibration: WindowIds; readonly choosing: WindowIds }

/** Candidate ranks, as shares of the inputs: half of them reads as much as int8 rows. */
const RANK_SHARES = [1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2]

/** Fills in defaults for a model of `d` inputs. Throws UsageError for what cannot be. */
export function settingsOf(options: HireOptions, d: number): HireSettings {
  const { kind, rank, bits = 4, groupSize = 32, recall = 0.98, share = 0.25, group = 1 } = options
  if (kind === 'lr' && rank !== undefined && !(Number.isInteger(rank) && rank >= 1 && rank <= d))
    throw new UsageError(`--rank: got ${rank}, wanted 1 to ${d}, the width of the inputs`)
  if (kind === 'q' && rank !== undefined) throw new UsageError('--rank: predictors of kind q have bits, no rank')
  if (!(recall > 0 && recall <= 1)) throw new UsageError(`--recall: got ${recall}, wanted above 0 and at most 1`)
  if (!(share > 0 && share <= 1)) throw new UsageError(`--share: got ${share}, wanted above 0 and at most 1`)
  const ranks = rank === undefined ? RANK_SHARES.map((part) => Math.max(1, Math.round(part * d))) : [rank]
  const { klBudget, always, signal, onProgress } = options
  return {
    kind,
    recall,
    share,
    group,
    softmaxK: options.softmaxK ?? 32,
    keep: options.keep ?? 'all',
    tokens: options.tokens ?? 16_384,
    choosingTokens: options.choosingTokens ?? 2048,
    seed: options.seed ?? 0,
    sequenceLength: options.sequenceLength ?? 256,
    threads: options.threads ?? availableParallelism(),
    ...(klBudget === undefined ? {} : { klBudget }),
    ...(always === undefined ? {} : { always }),
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
    forms: kind === 'q' ? [{ kind, bits, groupSize }] : ranks.map((r): HirePredictor => ({ kind, rank: r })),
  }
}
