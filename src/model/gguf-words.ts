import { UnsupportedError } from '../errors.ts'

/** A part of tokenizer.json. */
export type Part = Readonly<Record<string, unknown>>

/** What cuts a text into words before merging: one pre-tokenizer of tokenizer.json, byte-level at the end. */
export type Words = {
  readonly preTokenizer: Part
  /** Words that are tokens stay whole, whatever the merges would make of them. */
  readonly ignoreMerges: boolean
  /** Whether a prompt begins with the beginning-of-text token when the file does not say. */
  readonly addBos: boolean
}

const BYTES: Part = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }
/** ByteLevel with GPT-2's own pattern. */
const GPT2: Part = { ...BYTES, use_regex: true }
const DIGITS: Part = { type: 'Digits', individual_digits: true }

// Patterns as in llama.cpp's llama-vocab.cpp, with contractions spelled out in both cases: not every engine knows (?i:).
const CONTRACTIONS = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
const REST = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const LLAMA3 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${REST}`
const QWEN2 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${REST}`
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
const FRONT = '[^\\r\\n\\p{L}\\p{N}]?'
const LATER_REST = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const TEKKEN = `${FRONT}${UPPER}*${LOWER}+|${FRONT}${UPPER}+${LOWER}*|\\p{N}|${LATER_REST}`
const GPT4O =
  `${FRONT}${UPPER}*${LOWER}+(?:${CONTRACTIONS})?|${FRONT}${UPPER}+${LOWER}*(?:${CONTRACTIONS})?` +
  `|\\p{N}{1,3}|${LATER_REST}`

/** Values of `tokenizer.ggml.pre` by what they do. */
const KINDS: readonly { readonly names: readonly string[]; readonly words: Words }[] = [
  {
    names: ['gpt-2', 'gpt2', 'phi-2', 'olmo', 'mpt', 'jais', 'trillion', 'granite-docling'],
    words: plain(GPT2),
  },
  {
    names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'],
    words: plain(sequence(DIGITS, GPT2)),
  },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'lfm2', 'midm-2.0'],
    words: { ...plain(split(LLAMA3)), ignoreMerges: true, addBos: true },
  },
  { names: ['dbrx', 'smaug-bpe', 'chatglm-bpe', 'glm4'], words: plain(split(LLAMA3)) },
  { names: ['qwen2', 'stablelm2', 'deepseek-r1-qwen', 'megrez', 'hunyuan'], words: plain(split(QWEN2)) },
  { names: ['tekken'], words: { ...plain(split(TEKKEN)), ignoreMerges: true, addBos: true } },
  { names: ['gpt-4o', 'llama4'], words: plain(split(GPT4O)) },
]

/**
 * How a byte-level tokenizer cuts text, by the name that the file gives. Throws UnsupportedError for a name that is not
 * known, and for none: another pattern would give other tokens than the model was trained on.
 */
export function wordsOf(name: string | undefined, path: string): Words {
  const kind = KINDS.find(({ names }) => name !== undefined && names.includes(name))
  if (kind) return kind.words
  const known = KINDS.flatMap(({ names }) => names).join(', ')
  throw new UnsupportedError(
    `Cannot use ${path}: tokenizer.ggml.pre is ${name === undefined ? 'missing' : `"${name}"`}, ` +
      `supported are ${known}: convert the original model anew, or use it instead`,
  )
}

/**
 * The name for what cuts text in a tokenizer.json, to be written into a file: wordsOf() read backwards. Undefined where no
 * known name does the same.
 */
export function wordsName(preTokenizer: unknown, ignoreMerges: boolean): string | undefined {
  const steps = stepsOf(preTokenizer)
  return KINDS.find(
    ({ words }) => words.ignoreMerges === ignoreMerges && stepsOf(words.preTokenizer).join('\n') === steps.join('\n'),
  )?.names[0]
}

/** What a pre-tokenizer does, step by step, without the ways of writing the same. */
function stepsOf(part: unknown): string[] {
  const { type, ...rest } = (part ?? {}) as Record<string, unknown>
  switch (type) {
    case 'Sequence':
      return (rest['pretokenizers'] as unknown[]).flatMap(stepsOf)
    case 'Digits':
      return rest['individual_digits'] === true ? ['digits'] : ['runs of digits']
    case 'ByteLevel':
      // A space in front of a text would be another function; older files leave use_regex out, which is true.
      return [...(rest['add_prefix_space'] === true ? ['space'] : []), rest['use_regex'] === false ? 'bytes' : 'gpt2']
    case 'Split':
      return [splitStep(rest)]
    default:
      return [JSON.stringify(part)]
  }
}

/** Matches alone, or what is between matches removed, are the same where every character is part of a match. */
function splitStep({ pattern, behavior, invert }: Record<string, unknown>): string {
  const regex = (pattern as { Regex?: unknown } | undefined)?.Regex
  const keepsMatches = (behavior === 'Isolated' && !invert) || (behavior === 'Removed' && invert === true)
  if (typeof regex !== 'string' || !keepsMatches) return JSON.stringify({ pattern, behavior, invert })
  const spelled = regex
    .replaceAll("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", `(?:${CONTRACTIONS})?`)
    .replaceAll("(?i:'s|'t|'re|'ve|'m|'ll|'d)|", `${CONTRACTIONS}|`)
    .replaceAll(`(?:${CONTRACTIONS})|`, `${CONTRACTIONS}|`)
  return `split ${spelled}`
}

function plain(preTokenizer: Part): Words {
  return { preTokenizer, ignoreMerges: false, addBos: false }
}

function sequence(...pretokenizers: readonly Part[]): Part {
  return { type: 'Sequence', pretokenizers }
}

function split(pattern: string): Part {
  return sequence({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }, BYTES)
}
