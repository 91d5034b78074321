import { FormatError, UnsupportedError } from '../errors.ts'
import { byteLevelToken, impliedMerges } from './gguf-merges.ts'
import type { GgufMetadata } from './gguf-metadata.ts'
import type { Part } from './gguf-words.ts'
import { wordsOf } from './gguf-words.ts'

/** The two files of a Hugging Face tokenizer. */
export type TokenizerFiles = { readonly tokenizer: Part; readonly config: Part }

/** Kinds of tokens (llama.h, enum llama_token_type). */
const CONTROL = 3
const USER_DEFINED = 4

/**
 * tokenizer.json and tokenizer_config.json of a GGUF file's metadata: byte-level BPE ('gpt2') and SentencePiece ('llama').
 * Throws FormatError for lists that do not fit together, UnsupportedError for other kinds of tokenizer and unknown ways
 * to cut text.
 */
export function tokenizerOf(meta: GgufMetadata): TokenizerFiles {
  const kind = meta.text('tokenizer.ggml.model')
  if (kind !== 'gpt2' && kind !== 'llama')
    throw new UnsupportedError(
      `Cannot use ${meta.path}: tokenizer.ggml.model is ${kind === undefined ? 'missing' : `"${kind}"`}, ` +
        'supported are "gpt2" (byte-level BPE) and "llama" (SentencePiece)',
    )
  const tokens = meta.texts('tokenizer.ggml.tokens')
  if (!tokens || tokens.length === 0)
    throw new FormatError(`Cannot read ${meta.path}: tokenizer.ggml.tokens is missing or empty`)
  const types = listOf(meta, 'tokenizer.ggml.token_type', tokens.length)
  const parts = kind === 'gpt2' ? byteLevel(meta, tokens, types) : sentencePiece(meta, tokens)
  const special = specialTokens(meta, tokens)
  const added = parts.tokens.flatMap((content, id) =>
    types?.[id] === CONTROL || types?.[id] === USER_DEFINED ? [addedToken(id, content, types[id] === CONTROL)] : [],
  )
  const chatTemplate = meta.text('tokenizer.chat_template')
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: parts.normalizer,
      pre_tokenizer: parts.preTokenizer,
      post_processor: template(meta, special, parts.addBos),
      decoder: parts.decoder,
      model: parts.model,
    },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: false,
      ...Object.fromEntries(Object.entries(special).map(([name, { content }]) => [`${name}_token`, content])),
      ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
    },
  }
}

type Parts = {
  readonly tokens: readonly string[]
  readonly normalizer: Part | null
  readonly preTokenizer: Part | null
  readonly decoder: Part
  readonly model: Part
  readonly addBos: boolean
}

/** Tokens spelled in GPT-2's letters; added ones are plain text, since they are found before bytes become letters. */
function byteLevel(meta: GgufMetadata, tokens: readonly string[], types: readonly number[] | undefined): Parts {
  const merges = meta.texts('tokenizer.ggml.merges')
  if (!merges) throw new FormatError(`Cannot read ${meta.path}: tokenizer.ggml.merges is missing`)
  const { preTokenizer, ignoreMerges, addBos } = wordsOf(meta.text('tokenizer.ggml.pre'), meta.path)
  const isAdded = (id: number): boolean => types?.[id] === CONTROL || types?.[id] === USER_DEFINED
  const spelled = tokens.map((token, id) => (isAdded(id) ? token : byteLevelToken(token)))
  return {
    tokens: spelled,
    normalizer: null,
    preTokenizer,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { ...bpe(spelled, merges), ignore_merges: ignoreMerges },
    addBos,
  }
}

/** Spaces become '▁', one more in front of a text unless the file says no, and unknown characters bytes. */
function sentencePiece(meta: GgufMetadata, tokens: readonly string[]): Parts {
  const isGemma = meta.architecture.startsWith('gemma')
  // Gemma's files hold runs of spaces as spaces.
  const spelled = isGemma ? tokens.map((token) => (/^ {2,}$/.test(token) ? '▁'.repeat(token.length) : token)) : tokens
  const scores = listOf(meta, 'tokenizer.ggml.scores', tokens.length)
  // Gemma was merged in the order of its vocabulary, which its scores do not follow.
  const rank = isGemma ? tokens.map((_, id) => -id) : scores
  const merges = meta.texts('tokenizer.ggml.merges') ?? (rank && impliedMerges(spelled, rank))
  if (!merges)
    throw new FormatError(`Cannot read ${meta.path}: it has neither tokenizer.ggml.scores nor tokenizer.ggml.merges`)
  const prefix = meta.flag('tokenizer.ggml.add_space_prefix', !isGemma)
  const unknown = meta.whole('tokenizer.ggml.unknown_token_id', 0)
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  const spaces = { type: 'Replace', pattern: { String: '▁' }, content: ' ' }
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 }
  return {
    tokens: spelled,
    normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace] } : replace,
    preTokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [spaces, { type: 'ByteFallback' }, { type: 'Fuse' }, ...(prefix ? [strip] : [])],
    },
    model: { ...bpe(spelled, merges), unk_token: spelled[unknown] ?? null, fuse_unk: true, byte_fallback: true },
    addBos: true,
  }
}

function bpe(tokens: readonly string[], merges: readonly (string | readonly [string, string])[]): Part {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  }
}

function addedToken(id: number, content: string, special: boolean): Part {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }
}

type Special = Readonly<Record<string, { readonly id: number; readonly content: string }>>

function specialTokens(meta: GgufMetadata, tokens: readonly string[]): Special {
  const names = { bos: 'bos', eos: 'eos', unk: 'unknown', pad: 'padding' }
  return Object.fromEntries(
    Object.entries(names).flatMap(([name, key]) => {
      const full = `tokenizer.ggml.${key}_token_id`
      if (!meta.has(full)) return []
      const id = meta.whole(full)
      const content = tokens[id]
      if (content === undefined)
        throw new FormatError(`Cannot read ${meta.path}: ${full} is ${id}, expected less than ${tokens.length}`)
      return [[name, { id, content }]]
    }),
  )
}

/** What stands around a prompt: the beginning-of-text token, the end-of-text token, or nothing. */
function template(meta: GgufMetadata, special: Special, addBos: boolean): Part {
  const { bos, eos } = special
  const before = bos && meta.flag('tokenizer.ggml.add_bos_token', addBos) ? [bos] : []
  const after = eos && meta.flag('tokenizer.ggml.add_eos_token', false) ? [eos] : []
  const single = [...before.map(item), { Sequence: { id: 'A', type_id: 0 } }, ...after.map(item)]
  return {
    type: 'TemplateProcessing',
    single,
    pair: [...single, ...before.map(item), { Sequence: { id: 'B', type_id: 1 } }, ...after.map(item)],
    special_tokens: Object.fromEntries(
      [...before, ...after].map(({ id, content }) => [content, { id: content, ids: [id], tokens: [content] }]),
    ),
  }
}

function item({ content }: { readonly content: string }): Part {
  return { SpecialToken: { id: content, type_id: 0 } }
}

function listOf(meta: GgufMetadata, key: string, length: number): readonly number[] | undefined {
  const list = meta.numbers(key)
  if (list && list.length !== length)
    throw new FormatError(
      `Cannot read ${meta.path}: ${key} has ${list.length} entries, expected ${length}, one a token`,
    )
  return list
}
