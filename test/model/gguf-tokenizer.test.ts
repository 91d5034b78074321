import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { UnsupportedError } from '../../src/errors.ts'
import { openGguf } from '../../src/formats/gguf/reader.ts'
import { metadataOf } from '../../src/model/gguf-metadata.ts'
import { tokenizerOf } from '../../src/model/gguf-tokenizer.ts'
import type { Tokenizer } from '../../src/model/tokenizer.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import type { Meta } from '../fixtures/gguf.ts'
import { writeGguf } from '../fixtures/gguf.ts'
import { temporaryFolder } from '../formats/temp.ts'

const GOLDEN = path.join(import.meta.dirname, '../golden')
const folder = temporaryFolder()

type Json = { readonly [key: string]: unknown }
const read = <T>(...parts: string[]): T => JSON.parse(fs.readFileSync(path.join(...parts), 'utf8')) as T

/** The files that a GGUF with this tokenizer is converted to. */
function filesOf(metadata: Readonly<Record<string, Meta>>): { tokenizer: Json; config: Json } {
  const file = openGguf(
    writeGguf(path.join(folder, 'model.gguf'), { 'general.architecture': string('llama'), ...metadata }, {}),
  )
  try {
    return tokenizerOf(metadataOf(file))
  } finally {
    file.close()
  }
}

/** The same, opened as every other tokenizer is. */
function opened(metadata: Readonly<Record<string, Meta>>): Tokenizer {
  const { tokenizer, config } = filesOf(metadata)
  fs.writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  fs.writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config))
  return openTokenizer(folder)
}

function string(value: string): Meta {
  return { type: 'string', value }
}

function id(value: number): Meta {
  return { type: 'u32', value }
}

/** The demo model's tokenizer, as llama.cpp's converter would write it. */
function demo(pre: string): Record<string, Meta> {
  const { model } = read<{ model: { vocab: Record<string, number>; merges: string[][] } }>(
    demoModelFolder(),
    'tokenizer.json',
  )
  const tokens = Object.keys(model.vocab).sort((a, b) => model.vocab[a]! - model.vocab[b]!)
  return {
    'tokenizer.ggml.model': string('gpt2'),
    'tokenizer.ggml.pre': string(pre),
    'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
    'tokenizer.ggml.token_type': { type: 'i32s', value: tokens.map((_, i) => (i === 0 ? 3 : 1)) },
    'tokenizer.ggml.merges': { type: 'strings', value: model.merges.map((pair) => pair.join(' ')) },
    'tokenizer.ggml.bos_token_id': id(0),
    'tokenizer.ggml.eos_token_id': id(0),
  }
}

type Pieces = { tokens: string[]; scores: number[]; types: number[]; texts: string[] }
const pieces = read<Pieces & { ids: number[][]; idsWithoutPrefix: number[][] }>(
  GOLDEN,
  'gguf-tokenizers/sentencepiece.json',
)
const spm: Record<string, Meta> = {
  'tokenizer.ggml.model': string('llama'),
  'tokenizer.ggml.tokens': { type: 'strings', value: pieces.tokens },
  'tokenizer.ggml.scores': { type: 'f32s', value: pieces.scores },
  'tokenizer.ggml.token_type': { type: 'i32s', value: pieces.types },
  'tokenizer.ggml.bos_token_id': id(1),
  'tokenizer.ggml.eos_token_id': id(2),
}

describe('tokenizerOf() of byte-level BPE', () => {
  const { texts, ids } = read<{ texts: string[]; ids: Record<string, number[][]> }>(
    GOLDEN,
    'gguf-tokenizers/words.json',
  )

  it.each(Object.keys(ids))('cuts text as %s does in the tokenizers library', (pre) => {
    const { encode } = opened(demo(pre))
    expect(texts.map(encode)).toEqual(ids[pre])
  })

  it('gives the ids of the tokenizer.json that it came from, special tokens too', () => {
    const theirs = openTokenizer(demoModelFolder())
    const ours = opened(demo('gpt-2'))
    const awkward = [...texts, 'before<|endoftext|>after <|endoftext|', '']
    expect(awkward.map(ours.encode)).toEqual(awkward.map(theirs.encode))
    expect(texts.map((text) => ours.decode(ours.encode(text)))).toEqual(texts)
    expect([ours.vocabSize, ours.separatorId]).toEqual([theirs.vocabSize, theirs.separatorId])
  })

  it('begins a prompt as the file says, and as the kind of text cutting does where it says nothing', () => {
    const first = (metadata: Record<string, Meta>): number => opened(metadata).encodePrompt('a')[0]!
    const [a] = opened(demo('gpt-2')).encode('a')
    expect(first(demo('gpt-2'))).toBe(a)
    expect(first(demo('llama-bpe'))).toBe(0)
    expect(first({ ...demo('gpt-2'), 'tokenizer.ggml.add_bos_token': { type: 'bool', value: 1 } })).toBe(0)
    expect(first({ ...demo('llama-bpe'), 'tokenizer.ggml.add_bos_token': { type: 'bool', value: 0 } })).toBe(a)
  })

  it('spells plain text tokens in bytes, and keeps user-defined ones whole', () => {
    const metadata = demo('gpt-2')
    const tokens = [...(metadata['tokenizer.ggml.tokens']!.value as string[]), 'x yé', '  |  ']
    const types = tokens.map((_, i) => (i === 0 ? 3 : i === tokens.length - 1 ? 4 : 1))
    const { tokenizer } = filesOf({
      ...metadata,
      'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
      'tokenizer.ggml.token_type': { type: 'i32s', value: types },
    })
    const { vocab } = tokenizer['model'] as { vocab: Record<string, number> }
    expect(vocab['xĠyÃ©']).toBe(tokens.length - 2)
    expect(tokenizer['added_tokens']).toMatchObject([
      { id: 0, content: '<|endoftext|>', special: true },
      { id: tokens.length - 1, content: '  |  ', special: false },
    ])
  })

  it('refuses ways to cut text that it does not know, and none', () => {
    expect(() => filesOf(demo('superbpe'))).toThrow(UnsupportedError)
    expect(() => filesOf(demo('superbpe'))).toThrow(/tokenizer.ggml.pre is "superbpe", supported are gpt-2/)
    const { 'tokenizer.ggml.pre': _, ...without } = demo('gpt-2')
    expect(() => filesOf(without)).toThrow(/tokenizer.ggml.pre is missing/)
  })
})

describe('tokenizerOf() of SentencePiece', () => {
  it('gives the ids of SentencePiece, with a space in front of every text', () => {
    const tokenizer = opened(spm)
    expect(pieces.texts.map(tokenizer.encode)).toEqual(pieces.ids)
    expect(pieces.texts.map((text) => tokenizer.decode(tokenizer.encode(text)))).toEqual(pieces.texts)
    expect(tokenizer.encodePrompt(pieces.texts[0]!)).toEqual([1, ...pieces.ids[0]!])
    expect(tokenizer.separatorId).toBe(2)
  })

  it('gives the ids of SentencePiece without a space in front, where the file says so', () => {
    const tokenizer = opened({ ...spm, 'tokenizer.ggml.add_space_prefix': { type: 'bool', value: 0 } })
    expect(pieces.texts.map(tokenizer.encode)).toEqual(pieces.idsWithoutPrefix)
    expect(pieces.texts.map((text) => tokenizer.decode(tokenizer.encode(text)))).toEqual(pieces.texts)
  })

  it('keeps a chat template', () => {
    const { config } = filesOf({ ...spm, 'tokenizer.chat_template': string('{{ messages }}') })
    expect(config).toMatchObject({ bos_token: '<s>', eos_token: '</s>', chat_template: '{{ messages }}' })
  })

  it.each<[string, Record<string, Meta>, RegExp]>([
    [
      'another kind',
      { 'tokenizer.ggml.model': string('bert') },
      /tokenizer.ggml.model is "bert", supported are "gpt2"/,
    ],
    [
      'no tokens',
      { 'tokenizer.ggml.tokens': { type: 'strings', value: [] } },
      /tokenizer.ggml.tokens is missing or empty/,
    ],
    ['too few scores', { 'tokenizer.ggml.scores': { type: 'f32s', value: [0] } }, /scores has 1 entries, expected 900/],
    ['an end-of-text beyond the tokens', { 'tokenizer.ggml.eos_token_id': id(900) }, /is 900, expected less than 900/],
  ])('refuses %s', (_, change, message) => {
    expect(() => filesOf({ ...spm, ...change })).toThrow(message)
  })
})
