import { FormatError, UsageError } from '../src/errors.ts'
import { createRng } from '../src/linalg/rng.ts'
import type { CorpusOptions, Document } from './corpus.ts'
import { readDocuments } from './corpus.ts'
import { spreadText } from './spread.ts'
import type { TokenStream, TokenStreamOptions } from './stream.ts'
import { tokenStream } from './stream.ts'

/** Equally long pieces of the token stream. */
export type Windows = {
  readonly ids: Int32Array // (nWindows · sequenceLength)
  /** Index into domainNames of every token. */
  readonly domains: Uint16Array // (nWindows · sequenceLength)
  readonly domainNames: readonly string[]
  readonly nWindows: number
  /** Tokens of one window. */
  readonly sequenceLength: number
  /** Tokens that the windows were taken from. */
  readonly streamTokens: number
  /** true when the text was longer: pieces of it, from its begin to its end, were read. See textLimit(). */
  readonly truncated: boolean
  readonly documents: number
  /** Documents of white space only, which were left out. */
  readonly emptyDocuments: number
}

export type CalibrationOptions = {
  readonly tokens: number
  readonly sequenceLength: number
  /** @default 0 */
  readonly seed?: number
}

export type EvaluationOptions = {
  /** Windows wanted; fewer when the text has no more. */
  readonly windows: number
  readonly sequenceLength: number
}

type Encoding = Pick<TokenStreamOptions, 'encode' | 'separatorId'>

/**
 * Characters of text that are tokenised for `tokens` tokens of windows: 256 each, about 64 times the tokens in English,
 * and at least 4 million.
 */
export function textLimit(tokens: number): number {
  return Math.max(1 << 22, 256 * tokens)
}

/** calibrationWindows() of the documents of some files (readDocuments()), of more than textLimit() of pieces of them. */
export async function readCalibrationWindows(
  paths: readonly string[],
  options: CalibrationOptions & Encoding & CorpusOptions,
): Promise<Windows> {
  return calibrationWindows(await readStream(paths, options, textLimit(options.tokens)), options)
}

/** evaluationWindows() of the documents of some files (readDocuments()), of more than textLimit() of pieces of them. */
export async function readEvaluationWindows(
  paths: readonly string[],
  options: EvaluationOptions & Encoding & CorpusOptions,
): Promise<Windows> {
  const limit = textLimit(options.windows * options.sequenceLength)
  return evaluationWindows(await readStream(paths, options, limit), options)
}

async function readStream(
  paths: readonly string[],
  options: Encoding & CorpusOptions,
  limit: number,
): Promise<TokenStream> {
  const { documents, isPart } = await spreadText(await rereadable(paths, options), limit)
  // A character has at most 4 bytes, and a token at least one: every character fits.
  const stream = await tokenStream(documents, { ...options, maxTokens: 4 * limit })
  return { ...stream, truncated: isPart || stream.truncated }
}

/** Files are read again; what came from standard input is kept. */
async function rereadable(paths: readonly string[], options: CorpusOptions): Promise<() => AsyncIterable<Document>> {
  if (!paths.includes('-')) return () => readDocuments(paths, options)
  const kept: Document[] = []
  for await (const document of readDocuments(paths, options)) kept.push(document)
  return async function* () {
    yield* kept
  }
}

/**
 * ⌊tokens / sequenceLength⌋ windows from seeded random places of the stream; they may overlap. Throws UsageError when not
 * one window is wanted, FormatError when the stream is shorter than `tokens`.
 */
export function calibrationWindows(stream: TokenStream, options: CalibrationOptions): Windows {
  const { tokens, sequenceLength: T, seed = 0 } = options
  const nWindows = Math.floor(tokens / requireLength(T))
  if (!(nWindows >= 1))
    throw new UsageError(`Cannot calibrate on ${tokens} tokens in windows of ${T}: wanted at least one whole window`)
  const have = stream.ids.length
  const wanted = nWindows * T
  if (have <= T || have < wanted)
    throw new FormatError(
      `Too little calibration text: got ${have} tokens in ${stream.documents} documents, wanted at least ` +
        `${Math.max(wanted, T + 1)} (${nWindows} windows of ${T}): ${remedy(have, T)}`,
    )
  const rng = createRng(seed)
  return cut(
    stream,
    T,
    Array.from({ length: nWindows }, () => rng.integer(have - T)),
  )
}

/**
 * Evenly spaced windows that do not overlap: of the m = ⌊stream / sequenceLength⌋ there are, window i begins at token
 * ⌊i · m / n⌋ · sequenceLength, n = min(windows, m). Throws FormatError when the stream is shorter than one window.
 */
export function evaluationWindows(stream: TokenStream, options: EvaluationOptions): Windows {
  const { windows, sequenceLength: T } = options
  if (!(windows >= 1)) throw new UsageError(`Cannot evaluate on ${windows} windows: wanted at least one`)
  const whole = Math.floor(stream.ids.length / requireLength(T))
  if (whole < 1)
    throw new FormatError(
      `Too little evaluation text: got ${stream.ids.length} tokens in ${stream.documents} documents, wanted at least ` +
        `${T}, one window: add text, or lower --sequence-length`,
    )
  const n = Math.min(Math.floor(windows), whole)
  return cut(
    stream,
    T,
    Array.from({ length: n }, (_, i) => Math.floor((i * whole) / n) * T),
  )
}

function requireLength(T: number): number {
  if (!Number.isInteger(T) || T < 1)
    throw new UsageError(`Cannot cut windows of ${T} tokens: --sequence-length wants a whole number of at least 1`)
  return T
}

/** What would make the text suffice, in the user's words. */
function remedy(have: number, T: number): string {
  const possible = Math.floor((have - 1) / T) * T
  return possible > 0 ? `add text, or lower --tokens to ${possible}` : 'add text, or lower --sequence-length'
}

function cut(stream: TokenStream, T: number, starts: readonly number[]): Windows {
  const ids = new Int32Array(starts.length * T)
  const domains = new Uint16Array(ids.length)
  starts.forEach((start, i) => {
    ids.set(stream.ids.subarray(start, start + T), i * T)
    domains.set(stream.domains.subarray(start, start + T), i * T)
  })
  const { domainNames, truncated, documents, emptyDocuments } = stream
  return {
    ids,
    domains,
    domainNames,
    nWindows: starts.length,
    sequenceLength: T,
    streamTokens: stream.ids.length,
    truncated,
    documents,
    emptyDocuments,
  }
}
