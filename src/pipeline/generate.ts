import { availableParallelism } from 'node:os'
import { UsageError } from '../errors.ts'
import { createRng } from '../linalg/rng.ts'
import { readConfig } from '../model/config.ts'
import type { Tokenizer } from '../model/tokenizer.ts'
import { openTokenizer } from '../model/tokenizer.ts'
import type { Provider } from '../runtime/session.ts'
import { createDecoder } from '../verify/decoder.ts'
import type { Generation } from '../verify/generate.ts'
import { generateTokens } from '../verify/generate.ts'
import type { Sampling } from '../verify/sample.ts'
import { sampleToken } from '../verify/sample.ts'
import type { GriffinOption } from './predict/griffin-option.ts'
import { openGriffin } from './predict/griffin-option.ts'
import { openDecoder, runtimeName } from './open-decoder.ts'

export type GenerateOptions = {
  /** Artifact folder, or a dense model folder. */
  readonly model: string
  readonly prompt: string
  /** @default 64 */
  readonly maxNewTokens?: number
  /** 0: always the most likely token. @default 0 */
  readonly temperature?: number
  /** Only the k most likely tokens; 0: all. @default 0 */
  readonly topK?: number
  /** Only the most likely tokens that together reach this probability. @default 1 */
  readonly topP?: number
  /** @default 0 */
  readonly seed?: number
  /** @default 'cpu' */
  readonly provider?: Provider
  readonly threads?: number
  /** Decode with the FF neurons that the prompt selects (dense models, provider 'cpu'). @default all neurons */
  readonly griffin?: GriffinOption
  /** Hears the text as it comes, in whole characters. */
  readonly onText?: (text: string) => void
  readonly signal?: AbortSignal
}

export type GenerateResult = {
  readonly model: string
  readonly prompt: string
  /** The continuation, without the prompt. */
  readonly text: string
  readonly promptTokens: number
  readonly newTokens: number
  readonly ids: readonly number[]
  readonly stopped: Generation['stopped']
  /** Tokens of the prompt by the time to its logits; new tokens by the time of their steps. 0 without steps. */
  readonly promptTokensPerSecond: number
  readonly decodeTokensPerSecond: number
  readonly promptMs: number
  readonly decodeMs: number
  /** Time to load the model. */
  readonly loadMs: number
  readonly runtime: string
  readonly threads: number
  /** With GRIFFIN: neurons kept of each layer, what they were ranked by, and the part of promptMs that selecting took. */
  readonly griffin?: { readonly neurons: readonly number[]; readonly scores: string; readonly selectMs: number }
}

/**
 * Continues a prompt, by the most likely token or sampled. Equal options and seed give equal tokens. An empty prompt
 * begins at the end-of-text token. Throws UsageError when the model has fewer positions than the text would need.
 */
export async function generate(options: GenerateOptions): Promise<GenerateResult> {
  const { model, prompt, maxNewTokens = 64, provider = 'cpu', threads = availableParallelism() } = options
  const config = readConfig(model)
  const tokenizer = openTokenizer(model)
  const promptIds = prompt === '' ? [tokenizer.separatorId] : tokenizer.encodePrompt(prompt)
  if (promptIds.length + maxNewTokens > config.maxPositions)
    throw new UsageError(
      `Cannot generate ${maxNewTokens} tokens after a prompt of ${promptIds.length}: ${model} has ` +
        `${config.maxPositions} positions: lower --max-new-tokens or shorten the prompt`,
    )
  const start = performance.now()
  const source = openDecoder(model)
  const griffin = options.griffin ? await openGriffin(options.griffin, source, { threads, provider }) : undefined
  const decoder = griffin?.decoder ?? (await createDecoder({ ...source, threads, provider }))
  const loadMs = performance.now() - start
  const text = textStream(tokenizer, promptIds, options.onText)
  try {
    const made = await generateTokens(decoder, {
      promptIds,
      maxNewTokens,
      stopIds: [...config.eosTokenIds, tokenizer.separatorId],
      choose: chooser(options),
      now: () => performance.now(),
      onToken: text.push,
      ...(options.signal ? { signal: options.signal } : {}),
    })
    return {
      model,
      prompt,
      text: text.end(),
      promptTokens: promptIds.length,
      newTokens: made.ids.length,
      ids: made.ids,
      stopped: made.stopped,
      promptTokensPerSecond: perSecond(promptIds.length, made.promptMs),
      decodeTokensPerSecond: perSecond(made.decodeSteps, made.decodeMs),
      promptMs: made.promptMs,
      decodeMs: made.decodeMs,
      loadMs,
      runtime: runtimeName(source.kind, provider),
      threads,
      ...(griffin ? { griffin: griffin.summary() } : {}),
    }
  } finally {
    await decoder.release()
    griffin?.close()
  }
}

function chooser({ temperature = 0, topK = 0, topP = 1, seed = 0 }: GenerateOptions): (logits: Float32Array) => number {
  if (!(temperature >= 0) || !(topK >= 0) || !(topP > 0 && topP <= 1))
    throw new UsageError(
      `Cannot sample with temperature ${temperature}, topK ${topK}, topP ${topP}: wanted at least 0, at least 0, and (0, 1]`,
    )
  const sampling: Sampling = { temperature, topK, topP }
  const { uniform } = createRng(seed)
  return (logits) => sampleToken(logits, sampling, uniform)
}

function perSecond(tokens: number, ms: number): number {
  return ms > 0 ? (1000 * tokens) / ms : 0
}

/** Tokens that are decoded again in front of new ones. */
const CONTEXT = 4

/**
 * Text of tokens as they come. A token may end inside a character, which decodes to U+FFFD: it is held back until the
 * next tokens complete it, or the end. Decoders drop a space at the very beginning, so tokens are decoded behind some
 * that came before them.
 */
function textStream(
  tokenizer: Tokenizer,
  promptIds: readonly number[],
  onText: ((text: string) => void) | undefined,
): { push(id: number): void; end(): string } {
  let context = promptIds.slice(-CONTEXT)
  let pending: number[] = []
  let told = ''
  const tell = (isEnd: boolean): void => {
    const before = tokenizer.decode(context)
    const text = tokenizer.decode([...context, ...pending])
    if (pending.length === 0 || (text.endsWith('\uFFFD') && !isEnd)) return
    const piece = text.slice(before.length)
    if (piece !== '') onText?.(piece)
    told += piece
    context = [...context, ...pending].slice(-CONTEXT)
    pending = []
  }
  return {
    push(id) {
      pending.push(id)
      tell(false)
    },
    end() {
      tell(true)
      return told
    },
  }
}
