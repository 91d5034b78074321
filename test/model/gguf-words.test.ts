import { describe, expect, it } from 'vitest'
import { wordsName, wordsOf } from '../../src/model/gguf-words.ts'

const BYTES = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }

function split(regex: string, rest: object = { behavior: 'Isolated', invert: false }): object {
  return { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: regex }, ...rest }, BYTES] }
}

// As the tokenizer.json files of these models have them.
const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const QWEN2 = LLAMA3.replace('\\p{N}{1,3}', '\\p{N}')
const GPT4O =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" +
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" +
  '\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

describe('wordsName()', () => {
  it.each(['gpt-2', 'starcoder', 'smaug-bpe', 'lfm2', 'stablelm2', 'tekken', 'llama4'])(
    'wordsName() gives a name that does what %s does',
    (name) => {
      const words = wordsOf(name, 'x')
      const found = wordsName(words.preTokenizer, words.ignoreMerges)
      expect(wordsOf(found, 'x')).toEqual(words)
    },
  )

  it.each([
    ['gpt-2', { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true }, false],
    [
      'smollm',
      {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Digits', individual_digits: true },
          { ...BYTES, use_regex: true },
        ],
      },
      false,
    ],
    ['llama-bpe', split(LLAMA3), true],
    ['dbrx', split(LLAMA3, { behavior: 'Removed', invert: true }), false],
    ['qwen2', split(QWEN2), false],
    ['gpt-4o', split(GPT4O), false],
  ])('wordsName() knows %s in the words of its tokenizer.json', (name, preTokenizer, ignoreMerges) => {
    expect(wordsName(preTokenizer, ignoreMerges)).toBe(name)
  })

  it.each([
    ['a space in front of a text', { type: 'ByteLevel', add_prefix_space: true }],
    ['another pattern', split('\\p{L}+|\\s+')],
    ['matches thrown away', split(LLAMA3, { behavior: 'Removed', invert: false })],
    ['runs of digits', { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: false }, BYTES] }],
    ['no pre-tokenizer', null],
  ])('wordsName() has no name for %s', (_, preTokenizer) => {
    expect([wordsName(preTokenizer, false), wordsName(preTokenizer, true)]).toEqual([undefined, undefined])
  })
})
