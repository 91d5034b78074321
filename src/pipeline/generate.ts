import { availableParallelism } from 'node:os'
import { UsageError } from '../errors.ts'
import { createRng } from '../linalg/rng.ts'
import { readConfig } from '../model/config.ts'
import type { Tokenizer } from '../model/tokenizer.ts'
import { openTokenizer } from '../model/tokenizer.ts'
import type { Provider } from '../runtime/session.ts'
import { isArtifact } from '../verify/artifact.ts'
import type { Decoder } from '../verify/decoder.ts'
import { createDecoder } from '../verify/decoder.ts'
import type { Generation } from '../verify/generate.ts'
import { generateTokens } from '../verify/generate.ts'
import type { Sampling } from '../verify/sample.ts'
import { sampleToken } from '../verify/sample.ts'
import type { GriffinOption, GriffinOverrides, GriffinSummary } from './predict/griffin-option.ts'
import { assertGriffin, openGriffin, overridesOf } from './predict/griffin-option.ts'
import { openGriffinSource } from './predict/griffin-source.ts'
import { openHire } from './predict/hire-option.ts'
import type { DecoderSource } from './open-decoder.ts'
import { readPrompts } from './prompts.ts'
import type { ChatPromptOption } from './chat-prompt.ts'
import { promptTokens } from './chat-prompt.ts'
import { openDecoder, runtimeName } from './open-decoder.ts'
import { defaultProvider } from './provider.ts'
import { stopTokens } from './stop-tokens.ts'
import { textStream } from './text-stream.ts'
import type { Progress } from './types.ts'

export type GenerateOptions = GriffinOverrides &
  ChatPromptOption & {
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
    /** Of the samples, and of neurons where `select` draws them. @default 0 */
    readonly seed?: number
    /** @default of an artifact 'spexpand' where the native operators are built; else 'cpu'; `runtime` says which */
    readonly provider?: Provider
    readonly threads?: number
    /** Decode with the FF neurons that the prompt selects. @default all neurons */
    readonly griffin?: GriffinOption
    /** Decode with the neurons and rows of the softmax that HiRE predicts (artifacts that have it). @default false */
    readonly hire?: boolean
    /** Tokens of a prompt that run at once; with GRIFFIN, its statistic adds up over them. @default as many as fit */
    readonly promptChunk?: number
    /** Texts that end the continuation; neither they nor what follows is part of it. @default none */
    readonly stop?: readonly string[]
    /** Hears of fetching and loading the model. */
    readonly onProgress?: (progress: Progress) => void
    /** Hears the text as it comes, in whole characters, without what may become one of `stop`. */
    readonly onText?: (text: string) => void
    readonly signal?: AbortSignal
  }

export type GenerateAllOptions = Omit<GenerateOptions, 'prompt'> & {
  /** Texts, or a file that readPrompts() reads. */
  readonly prompts: readonly string[] | { readonly file: string }
  /** Hears each result when it is there. */
  readonly onResult?: (result: GenerateResult, i: number) => void
}

export type GenerateResult = {
  readonly model: string
  readonly prompt: string
  /** The continuation, without the prompt; without the stop string that ended it, whose tokens are in `ids`. */
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
  /**
   * What a caller waits for the first new token: from the call, reading and loading the model included, or from the end of the
   * prompt before. Absent without one.
   */
  readonly firstTokenMs?: number
  /** Time to load the model. */
  readonly loadMs: number
  readonly runtime: string
  readonly threads: number
  /** With GRIFFIN: neurons kept of each layer, how, and the part of promptMs that selecting took. */
  readonly griffin?: GriffinSummary
}

/**
 * Continues a prompt, by the most likely token or sampled. Equal options and seed give equal tokens. An empty prompt
 * begins at the end-of-text token. Throws UsageError when the model has fewer positions than the text would need.
 */
export async function generate(options: GenerateOptions): Promise<GenerateResult> {
  const [result] = await generateAll({ ...options, prompts: [options.prompt] })
  return result!
}

/**
 * The same for several prompts, one after the other with the model loaded once; each samples from the seed anew, and with
 * GRIFFIN each has sets of its own. `onResult` hears each result when it is there.
 */
export async function generateAll(options: GenerateAllOptions): Promise<GenerateResult[]> {
  const { model, maxNewTokens = 64, threads = availableParallelism() } = options
  const provider = options.provider ?? (isArtifact(model) ? defaultProvider() : 'cpu')
  let begun = performance.now()
  if (options.stop?.includes('')) throw new UsageError('Cannot stop at an empty text: wanted --stop with some text')
  const config = readConfig(model)
  const tokenizer = openTokenizer(model)
  const given = 'file' in options.prompts ? readPrompts(options.prompts.file) : options.prompts
  const tokensOf = promptTokens(model, tokenizer, options)
  const prompts = given.map((prompt) => {
    const promptIds = tokensOf(prompt)
    assertPositions(model, promptIds.length, maxNewTokens, config.maxPositions)
    return { prompt, promptIds }
  })
  const load = (done: number): void => options.onProgress?.({ stage: 'load', done, total: 1 })
  load(0)
  const start = performance.now()
  const generator = await openGenerator(options, { threads, provider })
  const loadMs = performance.now() - start
  load(1)
  try {
    const results: GenerateResult[] = []
    const common = { ...generator, tokenizer, stopIds: stopTokens(model, tokenizer), maxNewTokens }
    for (const prompt of prompts) {
      const made = await continuation(prompt, options, { ...common, begun })
      begun = performance.now()
      const runtime = `${runtimeName(generator.kind, provider)}${options.hire ? ', HiRE' : ''}`
      const { griffin } = generator
      const result = { model, ...made, loadMs, runtime, threads, ...(griffin ? { griffin: griffin() } : {}) }
      options.onResult?.(result, results.length)
      results.push(result)
    }
    return results
  } finally {
    await generator.close()
  }
}

type Prompt = { readonly prompt: string; readonly promptIds: readonly number[] }
type Tools = {
  readonly decoder: Decoder
  readonly tokenizer: Tokenizer
  readonly stopIds: readonly number[]
  readonly maxNewTokens: number
  /** When the wait for the first token began. */
  readonly begun: number
}

async function continuation(
  { prompt, promptIds }: Prompt,
  options: Omit<GenerateAllOptions, 'prompts'>,
  { decoder, tokenizer, stopIds, maxNewTokens, begun }: Tools,
): Promise<Omit<GenerateResult, 'model' | 'loadMs' | 'runtime' | 'threads' | 'griffin'>> {
  const text = textStream(tokenizer, promptIds, options.stop ?? [], options.onText)
  let firstTokenMs: number | undefined
  const made = await generateTokens(decoder, {
    promptIds,
    maxNewTokens,
    stopIds,
    choose: chooser(options),
    now: () => performance.now(),
    onToken(id) {
      firstTokenMs ??= performance.now() - begun
      text.push(id)
    },
    isOver: () => text.isStopped,
    ...(options.signal ? { signal: options.signal } : {}),
  })
  return {
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
    ...(firstTokenMs === undefined ? {} : { firstTokenMs }),
  }
}

function assertPositions(model: string, promptTokens: number, maxNewTokens: number, positions: number): void {
  if (promptTokens + maxNewTokens <= positions) return
  throw new UsageError(
    `Cannot generate ${maxNewTokens} tokens after a prompt of ${promptTokens}: ${model} has ${positions} positions: ` +
      'lower --max-new-tokens or shorten the prompt',
  )
}

type Generator = {
  readonly decoder: Decoder
  readonly kind: DecoderSource['kind']
  readonly griffin?: () => GriffinSummary
  readonly close: () => Promise<void>
}

/** The decoder of a model, with GRIFFIN where that was asked for. */
async function openGenerator(
  options: Omit<GenerateAllOptions, 'prompts'>,
  common: { readonly threads: number; readonly provider: Provider },
): Promise<Generator> {
  const { model, griffin: option, hire, promptChunk } = options
  assertGriffin(option, options)
  const chunk = promptChunk === undefined ? {} : { promptChunk }
  if (option && hire) throw new UsageError('--griffin and --hire both choose the neurons: give one of them')
  if (!option) {
    const decoder = hire ? openHire(model) : openDecoder(model)
    const opened = await createDecoder({ ...decoder, ...common, ...chunk })
    return { decoder: opened, kind: decoder.kind, close: () => opened.release() }
  }
  const source = await openGriffinSource(model, common.provider)
  try {
    const { decoder, summary } = await openGriffin(option, source, {
      ...common,
      ...chunk,
      overrides: overridesOf(options),
    })
    const close = async (): Promise<void> => {
      await decoder.release()
      source.close()
    }
    return { decoder, kind: source.decoder.kind, griffin: summary, close }
  } catch (error) {
    source.close()
    throw error
  }
}

function chooser({
  temperature = 0,
  topK = 0,
  topP = 1,
  seed = 0,
}: Pick<GenerateOptions, 'temperature' | 'topK' | 'topP' | 'seed'>): (logits: Float32Array) => number {
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
