import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { FormatError, UnsupportedError } from '../../errors.ts'
import type { GgufValue } from '../../formats/gguf/writer.ts'
import type { ModelConfig } from '../../model/config.ts'
import { wordsName } from '../../model/gguf-words.ts'
import { readJsonObject } from '../../model/json.ts'
import { pieceTypes, scoresOf, spacePrefix } from './gguf-pieces.ts'

/** The tokenizer of a model as GGUF metadata, and what of it the format has no word for. */
export type Vocabulary = { readonly metadata: ReadonlyMap<string, GgufValue>; readonly notes: readonly string[] }

const MAX_TOKENIZER_BYTES = 400_000_000
/** Kinds of tokens (llama.h, enum llama_token_type). */
const [NORMAL, CONTROL, USER_DEFINED, UNUSED] = [1, 3, 4, 5]

const addedToken = z.object({
  id: z.int().min(0),
  content: z.string(),
  special: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
})
const tokenizerJson = z.object({
  added_tokens: z.array(addedToken).default([]),
  normalizer: z.record(z.string(), z.unknown()).nullish(),
  pre_tokenizer: z.record(z.string(), z.unknown()).nullish(),
  post_processor: z.record(z.string(), z.unknown()).nullish(),
  model: z.object({
    type: z.literal('BPE').default('BPE'),
    vocab: z.custom<Readonly<Record<string, number>>>(isVocab, 'expected an object of token → id'),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    ignore_merges: z.boolean().default(false),
    byte_fallback: z.boolean().default(false),
    unk_token: z.string().nullish(),
  }),
})
type TokenizerJson = z.output<typeof tokenizerJson>

/** Not z.record(), which drops a token "__proto__". */
function isVocab(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((id) => Number.isSafeInteger(id) && id >= 0)
  )
}

/**
 * tokenizer.json and tokenizer_config.json of a folder as metadata: byte-level BPE ('gpt2') with its merges and the name of
 * what cuts text into words, or SentencePiece ('llama') with scores that say what the merges say. Ids that no token has
 * are filled up. Throws UnsupportedError for other kinds of tokenizer, FormatError for files that do not fit together.
 */
export function vocabularyOf(folder: string, config: ModelConfig): Vocabulary {
  const path = join(folder, 'tokenizer.json')
  const json = readTokenizer(path)
  const settings = readSettings(folder)
  const { tokens, types } = listed(json, config.vocab, path)
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const { metadata, notes } = json.model.byte_fallback
    ? pieces(json, tokens, types, path)
    : byteWords(json, types, path)
  if (json.added_tokens.some(({ lstrip, rstrip }) => lstrip || rstrip))
    notes.push('added tokens do not take the spaces beside them: llama.cpp has no such flag')
  const template = chatTemplate(folder, settings)
  return {
    metadata: new Map<string, GgufValue>([
      ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
      ...metadata,
      ...specialIds(settings, config, ids),
      ...endsOf(json, settings, ids, path),
      ...(template === undefined
        ? []
        : [['tokenizer.chat_template', { type: 'string', value: template }] as [string, GgufValue]]),
    ]),
    notes,
  }
}

type Part = { readonly metadata: [string, GgufValue][]; readonly notes: string[] }

function byteWords(json: TokenizerJson, types: readonly number[], path: string): Part {
  const pre = wordsName(json.pre_tokenizer, json.model.ignore_merges)
  if (pre === undefined)
    throw new UnsupportedError(
      `Cannot write ${path} as GGUF: its pre_tokenizer ${JSON.stringify(json.pre_tokenizer ?? null).slice(0, 120)} is none ` +
        'that llama.cpp has a name for',
    )
  const { normalizer } = json
  return {
    metadata: [
      ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
      ['tokenizer.ggml.pre', { type: 'string', value: pre }],
      ['tokenizer.ggml.token_type', { type: 'i32s', value: types }],
      ['tokenizer.ggml.merges', { type: 'strings', value: json.model.merges.map(mergeText) }],
    ],
    notes: normalizer ? [`normalizer ${String(normalizer['type'])} is left out: llama.cpp has none`] : [],
  }
}

function pieces(json: TokenizerJson, tokens: readonly string[], types: readonly number[], path: string): Part {
  const prefix = spacePrefix(json.normalizer, json.pre_tokenizer)
  const kinds = pieceTypes(tokens, types, json.model.unk_token)
  const pairs = json.model.merges.map((merge) => (typeof merge === 'string' ? pairOf(merge) : merge))
  const scores = scoresOf(tokens, kinds, pairs)
  if (prefix === undefined || scores === undefined)
    throw new UnsupportedError(
      `Cannot write ${path} as GGUF: its ${prefix === undefined ? 'normalizer and pre_tokenizer are' : 'list of merges is'} none ` +
        'that a SentencePiece vocabulary of llama.cpp gives: export --to mixtral, and convert that with its tokenizer.model',
    )
  return {
    metadata: [
      ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
      ['tokenizer.ggml.token_type', { type: 'i32s', value: kinds }],
      ['tokenizer.ggml.scores', { type: 'f32s', value: scores }],
      ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: prefix }],
    ],
    notes: [],
  }
}

/** 'a b': pieces of this kind have no spaces. */
function pairOf(merge: string): [string, string] {
  const at = merge.indexOf(' ')
  return [merge.slice(0, at), merge.slice(at + 1)]
}

function readTokenizer(path: string): TokenizerJson {
  const json = readJsonObject(path, MAX_TOKENIZER_BYTES)
  const type = (json['model'] as { type?: unknown } | undefined)?.type
  if (type !== undefined && type !== 'BPE')
    throw new UnsupportedError(
      `Cannot write ${path} as GGUF: model.type is ${JSON.stringify(type)}, supported is "BPE"`,
    )
  const result = tokenizerJson.safeParse(json)
  if (result.success) return result.data
  const { path: field, message } = result.error.issues[0]!
  throw new FormatError(`Cannot read ${path}: ${field.join('.') || 'the top level'}: ${message}`)
}

function readSettings(folder: string): Record<string, unknown> {
  const path = join(folder, 'tokenizer_config.json')
  return existsSync(path) ? readJsonObject(path, MAX_TOKENIZER_BYTES) : {}
}

/** One token for every row of the embedding. */
function listed(
  { model, added_tokens: added }: TokenizerJson,
  size: number,
  path: string,
): { tokens: string[]; types: number[] } {
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`)
  const types = Array.from({ length: size }, () => UNUSED!)
  const place = (id: number, token: string, type: number): void => {
    if (id >= size)
      throw new FormatError(
        `Cannot write ${path} as GGUF: token ${JSON.stringify(token)} has id ${id}, the embedding has ${size} rows`,
      )
    tokens[id] = token
    types[id] = type
  }
  for (const [token, id] of Object.entries(model.vocab)) place(id, token, NORMAL!)
  for (const { id, content, special } of added) place(id, content, special ? CONTROL! : USER_DEFINED!)
  return { tokens, types }
}

function mergeText(merge: string | readonly [string, string]): string {
  return typeof merge === 'string' ? merge : merge.join(' ')
}

/** Ids of tokenizer_config.json by name, those of config.json where it has none; a second end is the end of a turn. */
function specialIds(
  settings: Record<string, unknown>,
  { bosTokenId, eosTokenIds }: ModelConfig,
  ids: ReadonlyMap<string, number>,
): [string, GgufValue][] {
  const named = (name: string): number | undefined => ids.get(contentOf(settings[`${name}_token`]) ?? '')
  const eos = named('eos') ?? eosTokenIds[0]
  const all: [string, number | undefined | null][] = [
    ['bos', named('bos') ?? bosTokenId],
    ['eos', eos],
    ['eot', eosTokenIds.find((id) => id !== eos)],
    ['unknown', named('unk')],
    ['padding', named('pad')],
  ]
  return all.flatMap(([name, value]): [string, GgufValue][] =>
    value === undefined || value === null ? [] : [[`tokenizer.ggml.${name}_token_id`, { type: 'u32', value }]],
  )
}

/** A token of tokenizer_config.json: its text, or an object with it. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const content = (token as { content?: unknown } | null | undefined)?.content
  return typeof content === 'string' ? content : undefined
}

/** Whether the begin and end tokens stand around a prompt. Throws UnsupportedError for other tokens there. */
function endsOf(
  { post_processor: processor }: TokenizerJson,
  settings: Record<string, unknown>,
  ids: ReadonlyMap<string, number>,
  path: string,
): [string, GgufValue][] {
  const { before, after } = aroundText(processor)
  const allowed = (tokens: readonly string[], name: string): boolean => {
    const special = contentOf(settings[`${name}_token`])
    return tokens.length === 0 || (tokens.length === 1 && tokens[0] === special && ids.has(tokens[0]!))
  }
  if (!allowed(before, 'bos') || !allowed(after, 'eos'))
    throw new UnsupportedError(
      `Cannot write ${path} as GGUF: its post_processor puts ${JSON.stringify([...before, ...after])} around a text, ` +
        'supported are bos_token in front and eos_token behind',
    )
  return [
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: before.length > 0 }],
    ['tokenizer.ggml.add_eos_token', { type: 'bool', value: after.length > 0 }],
  ]
}

/** The special tokens that a TemplateProcessing puts before and behind one text. */
function aroundText(processor: unknown): { before: readonly string[]; after: readonly string[] } {
  const { type, processors, single } = (processor ?? {}) as Record<string, unknown>
  if (type === 'Sequence' && Array.isArray(processors)) {
    const parts = processors.map(aroundText)
    return { before: parts.flatMap(({ before }) => before), after: parts.flatMap(({ after }) => after) }
  }
  if (type !== 'TemplateProcessing' || !Array.isArray(single)) return { before: [], after: [] }
  const names = single.map((item) => (item as { SpecialToken?: { id?: string } }).SpecialToken?.id)
  const text = names.indexOf(undefined)
  return { before: defined(names.slice(0, text)), after: defined(names.slice(text + 1)) }
}

function defined(list: readonly (string | undefined)[]): string[] {
  return list.filter((name) => name !== undefined)
}

function chatTemplate(folder: string, settings: Record<string, unknown>): string | undefined {
  const path = join(folder, 'chat_template.jinja')
  if (existsSync(path)) return readFileSync(path, 'utf8')
  const template = settings['chat_template']
  return typeof template === 'string' ? template : undefined
}
