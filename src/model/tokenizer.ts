import { Tokenizer as Library } from '@huggingface/tokenizers'
import { FormatError, UnsupportedError } from '../errors.ts'
import { fileInFolder } from '../formats/paths.ts'
import { readConfig } from './config.ts'
import { kindOf, readJsonObject } from './json.ts'
import { TimeLimitError, withinTime } from './time-limit.ts'
import { encodeByWords, splitsIntoWords } from './words.ts'

/** Text to token ids and back, as the model's tokenizer.json defines it. */
export type Tokenizer = {
  /** Token ids of a text; no special tokens are added, those written in the text are recognised. */
  encode(text: string): number[]
  /** Token ids of a text that a model shall continue, with the special tokens that tokenizer.json puts around it. */
  encodePrompt(text: string): number[]
  /** The text of token ids, special tokens included. */
  decode(ids: readonly number[]): string
  /** One more than the largest token id. */
  readonly vocabSize: number
  /** The end-of-text token, put before each document: eos_token of tokenizer_config.json, else of config.json. */
  readonly separatorId: number
}

/** The largest published files have 35 MB; V8 cannot hold strings beyond 512 MB. */
const MAX_TOKENIZER_BYTES = 400_000_000

/** The largest published vocabularies have a sixteenth of that. */
const MAX_VOCAB = 1 << 22

/** Kinds of tokenizer.json models that decoders use. */
const KINDS: readonly unknown[] = ['BPE', 'Unigram', 'WordPiece']

/**
 * Opens tokenizer.json (and tokenizer_config.json, where there is one) of a model folder.
 * Throws FormatError when one is missing, malformed, or names no end-of-text token, UnsupportedError for a kind of model
 * that is not known.
 */
export function openTokenizer(folder: string): Tokenizer {
  const file = fileInFolder(folder, 'tokenizer.json')
  if (file === undefined)
    throw new FormatError(
      `Cannot open the tokenizer of ${folder}: there is no tokenizer.json: save it with save_pretrained`,
    )
  const json = readJsonObject(file, MAX_TOKENIZER_BYTES)
  const configFile = fileInFolder(folder, 'tokenizer_config.json')
  const config = configFile === undefined ? {} : readJsonObject(configFile, MAX_TOKENIZER_BYTES)
  const vocabSize = vocabSizeOf(json, file)
  const library = createLibrary(json, config, file)
  const plain = (text: string): number[] => library.encode(text, { add_special_tokens: false }).ids
  const encode = splitsIntoWords(json, config) ? encodeByWords(plain, addedTokens(json)) : plain
  const decode = (ids: readonly number[]): string =>
    library.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false })
  return {
    encode: (text) => (text === '' ? [] : guarded(file, text.length, () => encode(text))),
    encodePrompt: (text) => (text === '' ? [] : guarded(file, text.length, () => library.encode(text).ids)),
    decode: (ids) => (ids.length === 0 ? '' : guarded(file, ids.length, () => decode(ids))),
    vocabSize,
    separatorId: separatorOf(library, config, folder),
  }
}

/**
 * The library reports malformed input by whatever exception it runs into, and takes unknown kinds of model for a plain
 * word list: those are refused first.
 */
function createLibrary(json: Record<string, unknown>, config: Record<string, unknown>, file: string): Library {
  const model = json['model']
  if (typeof model !== 'object' || model === null || !('vocab' in model))
    throw new FormatError(`Cannot read ${file}: model is ${kindOf(model)}, expected an object with a vocab`)
  // Old files of GPT-2's kind leave the type out.
  const type = 'type' in model ? model.type : 'merges' in model ? 'BPE' : undefined
  if (!KINDS.includes(type))
    throw new UnsupportedError(
      `Cannot use ${file}: model.type is ${kindOf(type)}, supported are ${KINDS.map((kind) => `"${kind}"`).join(', ')}`,
    )
  const absent = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] }
  try {
    const library = new Library({ ...absent, ...json, model: { ...model, type } }, config)
    withinTime(BASE_MS, () => library.encode('probe', { add_special_tokens: false }))
    return library
  } catch (cause) {
    throw new FormatError(`Cannot read ${file}: it is no tokenizer: ${(cause as Error).message.split('\n')[0]}`, {
      cause,
    })
  }
}

/** Time for any text, and for every character of it; tokenizers take a hundredth of that. */
const BASE_MS = 1500
const MS_PER_CHARACTER = 0.2

/** Runs the library on `length` characters or tokens. What it throws on values it did not check is the file's fault. */
function guarded<T>(file: string, length: number, body: () => T): T {
  try {
    return withinTime(BASE_MS + length * MS_PER_CHARACTER, body)
  } catch (cause) {
    const reason = (cause as Error).message.split('\n')[0]
    const what = cause instanceof TimeLimitError ? 'a pattern in it may never end' : 'it is no tokenizer'
    throw new FormatError(`Cannot use ${file}: ${what}: ${reason} on a text of ${length} characters`, { cause })
  }
}

function addedTokens(json: Record<string, unknown>): string[] {
  const tokens = json['added_tokens']
  return Array.isArray(tokens) ? tokens.map((token: { content: string }) => token.content) : []
}

/** Checked before the library sees them: it walks through all ids up to the largest one. */
function vocabSizeOf(json: Record<string, unknown>, file: string): number {
  const vocab: unknown = (json['model'] as { readonly vocab?: unknown } | null | undefined)?.vocab
  const added: unknown = json['added_tokens']
  const isList = Array.isArray(vocab)
  const ids: unknown[] = isList ? [vocab.length - 1] : Object.values(vocab ?? {})
  if (Array.isArray(added)) for (const token of added) ids.push((token as { readonly id?: unknown } | null)?.id)
  let size = 0
  for (const id of ids) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_VOCAB)
      throw new FormatError(`Cannot read ${file}: ${kindOf(id)} is the id of a token, expected 0 to ${MAX_VOCAB - 1}`)
    size = Math.max(size, id + 1)
  }
  return size
}

function separatorOf(library: Library, config: Record<string, unknown>, folder: string): number {
  const entry = config['eos_token']
  const content = typeof entry === 'object' && entry !== null && 'content' in entry ? entry.content : entry
  if (typeof content === 'string') {
    const id = library.token_to_id(content)
    if (id === undefined)
      throw new FormatError(`Cannot read ${folder}/tokenizer_config.json: eos_token is "${content}", which is no token`)
    return id
  }
  const id = readConfig(folder).eosTokenIds[0]
  if (id === undefined)
    throw new FormatError(
      `Cannot open the tokenizer of ${folder}: neither tokenizer_config.json (eos_token) nor config.json (eos_token_id) ` +
        'names an end-of-text token, wanted one to put between documents',
    )
  return id
}
