import type { Provider } from '../runtime/session.ts'
import type { Decoder, DecoderOptions } from './decoder.ts'
import { createDecoder } from './decoder.ts'
import type { Comparison } from './speed-ff.ts'
import { comparisonOf, denseProvider } from './speed-ff.ts'
import { timeInTurns } from './timing.ts'

export type ModelSpeed = {
  /** A prompt in one run; ms are of the whole prompt. */
  readonly prompt: Comparison
  /** Steps of one token behind the prompt. */
  readonly decode: Comparison
}

export type ModelSpeedOptions = {
  readonly sparse: Omit<DecoderOptions, 'provider' | 'threads'>
  readonly dense: Omit<DecoderOptions, 'provider' | 'threads'>
  readonly provider: Provider
  readonly threads: number
  /** Held-out tokens: the prompt, and behind it at least one for each round of decoding. */
  readonly ids: readonly number[]
  readonly promptTokens: number
  readonly rounds: number
  readonly promptRounds: number
  readonly warmUp: number
  readonly now: () => number
  readonly onRound?: () => void
}

/** Times the whole model on a prompt and on the tokens that follow it, sparse and dense in turns on the same tokens. */
export async function measureModel(options: ModelSpeedOptions): Promise<ModelSpeed> {
  const { provider, threads, ids, promptTokens, rounds, promptRounds, warmUp } = options
  const common = { threads, takesTurns: true }
  const sparse = await createDecoder({ ...options.sparse, ...common, provider })
  let dense: Decoder | undefined
  try {
    dense = await createDecoder({ ...options.dense, ...common, provider: denseProvider(provider) })
    const prompt = async (decoder: Decoder): Promise<unknown> => {
      decoder.reset()
      return decoder.step(ids.slice(0, promptTokens))
    }
    const next = (decoder: Decoder): Promise<unknown> => decoder.step([ids[decoder.length]!])
    return {
      prompt: await race(options, [sparse, dense], prompt, { rounds: promptRounds, warmUp: 1, tokens: promptTokens }),
      decode: await race(options, [sparse, dense], next, { rounds, warmUp, tokens: 1 }),
    }
  } finally {
    await sparse.release()
    await dense?.release()
  }
}

async function race(
  { now, onRound }: ModelSpeedOptions,
  [sparse, dense]: readonly [Decoder, Decoder],
  run: (decoder: Decoder) => Promise<unknown>,
  { rounds, warmUp, tokens }: { readonly rounds: number; readonly warmUp: number; readonly tokens: number },
): Promise<Comparison> {
  const contenders = [() => run(sparse), () => run(dense)]
  const timings = await timeInTurns(contenders, { rounds, warmUp, now, ...(onRound ? { onRound } : {}) })
  return comparisonOf(tokens, timings[0]!, timings[1]!)
}
