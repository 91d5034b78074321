import { FormatError, InterruptedError } from '../errors.ts'
import type { Decoder } from './decoder.ts'

export type GenerationOptions = {
  readonly promptIds: readonly number[]
  readonly maxNewTokens: number
  /** Tokens that end the text; they are not part of it. */
  readonly stopIds: readonly number[]
  /** The next token of logits (vocab). */
  readonly choose: (logits: Float32Array) => number
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number
  readonly onToken?: (id: number) => void
  /** Asked behind each token: whether the text is over. */
  readonly isOver?: () => boolean
  readonly signal?: AbortSignal
}

export type Generation = {
  readonly ids: readonly number[]
  /** 'stop': a stop token came; 'string': isOver() said so; 'length': maxNewTokens were made. */
  readonly stopped: 'stop' | 'string' | 'length'
  /** Time of the prompt up to its logits, and of the steps of one token after it. */
  readonly promptMs: number
  readonly decodeMs: number
  /** Steps of one token that decodeMs covers. */
  readonly decodeSteps: number
}

/**
 * Continues a prompt token by token. Throws FormatError for prompt ids outside the vocabulary, InterruptedError after an
 * abort.
 */
export async function generateTokens(decoder: Decoder, options: GenerationOptions): Promise<Generation> {
  const { promptIds, maxNewTokens, stopIds, choose, now, onToken, isOver, signal } = options
  const bad = promptIds.find((id) => id < 0 || id >= decoder.vocab)
  if (bad !== undefined)
    throw new FormatError(
      `Cannot generate: the prompt has token ${bad}, the vocabulary ${decoder.vocab}: use the model's own tokenizer`,
    )
  decoder.reset()
  const start = now()
  let logits = await decoder.step(promptIds)
  const promptMs = now() - start
  const ids: number[] = []
  let decodeMs = 0
  let decodeSteps = 0
  let stopped: Generation['stopped'] = 'length'
  while (ids.length < maxNewTokens) {
    if (signal?.aborted) throw new InterruptedError('Interrupted while generating')
    const id = choose(logits)
    if (stopIds.includes(id)) {
      stopped = 'stop'
      break
    }
    ids.push(id)
    onToken?.(id)
    if (isOver?.()) {
      stopped = 'string'
      break
    }
    if (ids.length === maxNewTokens) break
    const before = now()
    logits = await decoder.step([id])
    decodeMs += now() - before
    decodeSteps++
  }
  return { ids, stopped, promptMs, decodeMs, decodeSteps }
}
