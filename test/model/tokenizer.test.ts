import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Tokenizer as Library } from '@huggingface/tokenizers'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { FormatError, UnsupportedError } from '../../src/errors.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import { splitsIntoWords } from '../../src/model/words.ts'

const ROOT = path.join(import.meta.dirname, '../..')
const DEMO = path.join(ROOT, 'calibration/demo-model')
const read = (file: string): Record<string, unknown> =>
  JSON.parse(fs.readFileSync(path.join(DEMO, file), 'utf8')) as Record<string, unknown>
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'spexpand-tokenizer-'))
afterAll(() => fs.rmSync(scratch, { recursive: true }))

/** A folder with these files; values are written as JSON, strings as they are. */
function folderWith(files: Readonly<Record<string, unknown>>): string {
  const folder = fs.mkdtempSync(path.join(scratch, 'case-'))
  for (const [name, content] of Object.entries(files))
    fs.writeFileSync(path.join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  return folder
}

describe('encode() and decode()', () => {
  const tokenizer = openTokenizer(DEMO)
  const cases = JSON.parse(fs.readFileSync(path.join(ROOT, 'test/golden/tokenizer/demo-ids.json'), 'utf8')) as {
    text: string
    ids: number[]
  }[]

  it.each(cases)('agree with the Python tokenizers on $text', ({ text, ids }) => {
    expect(tokenizer.encode(text)).toEqual(ids)
    expect(tokenizer.decode(ids)).toBe(text)
  })

  it('give the ids of the whole-text library, although words are encoded one by one', () => {
    expect(splitsIntoWords(read('tokenizer.json'), read('tokenizer_config.json'))).toBe(true)
    const library = new Library(read('tokenizer.json'), read('tokenizer_config.json'))
    const piece = fc.oneof(
      fc.constantFrom(
        ' ',
        '  ',
        '\n',
        '\t',
        "'s",
        "'",
        'll',
        'a',
        'é',
        '1',
        '½',
        '.',
        '!?',
        '\u00A0',
        '<|endoftext|>',
        '<|',
      ),
      fc.string({ unit: 'binary', maxLength: 3 }),
      fc.lorem({ maxCount: 2 }),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join('')
        fc.pre(text.length > 0)
        expect(tokenizer.encode(text)).toEqual(library.encode(text, { add_special_tokens: false }).ids)
      }),
      { numRuns: 400 },
    )
  })

  it('takes long documents, and long words, without quadratic time', () => {
    const texts = ['lorem ipsum dolor sit amet, '.repeat(40_000), 'abcab'.repeat(8_000)]
    for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
  }, 20_000)
})

describe('splitsIntoWords()', () => {
  it('says no to whatever could change a word by its neighbours', () => {
    const json = read('tokenizer.json')
    const cutter = json['pre_tokenizer'] as object
    const changed = [
      { ...json, normalizer: { type: 'NFC' } },
      { ...json, pre_tokenizer: null },
      { ...json, pre_tokenizer: { ...cutter, add_prefix_space: true } },
      { ...json, pre_tokenizer: { ...cutter, use_regex: false } },
      { ...json, model: { ...(json['model'] as object), dropout: 0.1 } },
    ]
    for (const other of changed) expect(splitsIntoWords(other, {})).toBe(false)
    expect(splitsIntoWords(json, { remove_space: true })).toBe(false)
  })
})

describe('openTokenizer()', () => {
  it('finds the end-of-text token in tokenizer_config.json, as a string or an object, else in config.json', () => {
    const json = fs.readFileSync(path.join(DEMO, 'tokenizer.json'), 'utf8')
    const config = read('config.json')
    const separator = (files: Record<string, unknown>): number =>
      openTokenizer(folderWith({ 'tokenizer.json': json, ...files })).separatorId
    expect(separator({ 'tokenizer_config.json': { eos_token: '<|endoftext|>' } })).toBe(0)
    expect(separator({ 'tokenizer_config.json': { eos_token: { content: 'the' } } })).toBe(
      openTokenizer(DEMO).encode('the')[0],
    )
    expect(separator({ 'config.json': { ...config, eos_token_id: [7, 8] } })).toBe(7)
    expect(() => separator({ 'tokenizer_config.json': { eos_token: 'nowhere to be found' } })).toThrow(
      /which is no token/,
    )
    expect(() => separator({ 'config.json': { ...config, eos_token_id: null } })).toThrow(/names an end-of-text token/)
  })

  it('knows the size of the vocabulary', () => {
    expect(openTokenizer(DEMO).vocabSize).toBe(4096)
  })

  it.each([
    ['missing', {}, /there is no tokenizer.json/],
    ['cut short', { 'tokenizer.json': '{"model": {' }, /tokenizer.json: it is not JSON/],
    ['a list', { 'tokenizer.json': [] }, /the top level is a list, expected an object/],
    ['without model', { 'tokenizer.json': { added_tokens: [] } }, /model is missing/],
    ['without merges', { 'tokenizer.json': { model: { type: 'BPE', vocab: {} } } }, /it is no tokenizer/],
  ])('reports a tokenizer.json that is %s', (_, files, message) => {
    const open = (): unknown => openTokenizer(folderWith(files))
    expect(open).toThrow(FormatError)
    expect(open).toThrow(message)
    expect(open).not.toThrow(/\n/)
  })

  it('refuses a kind of model that it does not know', () => {
    const folder = folderWith({ 'tokenizer.json': { model: { type: 'Telepathy', vocab: {} } } })
    expect(() => openTokenizer(folder)).toThrow(UnsupportedError)
    expect(() => openTokenizer(folder)).toThrow(/model.type is the string "Telepathy", supported are "BPE"/)
  })

  it('reports text that is not UTF-8', () => {
    const folder = folderWith({})
    fs.writeFileSync(path.join(folder, 'tokenizer.json'), Uint8Array.of(0x7b, 0xff, 0x7d))
    expect(() => openTokenizer(folder)).toThrow(/it is not UTF-8 text/)
  })
})

function split(pattern: string): object {
  return {
    type: 'Split',
    pattern: { Regex: pattern },
    behavior: 'Isolated',
    invert: false,
  }
}

describe('hostile tokenizers', () => {
  const bpe = { type: 'BPE', vocab: { '</s>': 0, a: 1, b: 2 }, merges: [], unk_token: '</s>' }

  it('a pattern that backtracks without end is stopped and named', () => {
    const files = { 'tokenizer_config.json': { eos_token: '</s>' } }
    const tokenizer = { model: bpe, pre_tokenizer: split('(a+)+$') }
    const { encode } = openTokenizer(folderWith({ ...files, 'tokenizer.json': tokenizer }))
    expect(encode('aab').length).toBeGreaterThan(0)
    const endless = (): number[] => encode(`${'a'.repeat(40)}b`)
    expect(endless).toThrow(FormatError)
    expect(endless).toThrow(
      /tokenizer\.json: a pattern in it may never end: it takes longer than \d+ ms on a text of 41/,
    )
  })

  it.each([
    [{ added_tokens: [{ id: 1e9, content: '<x>' }] }, '1000000000'],
    [{ added_tokens: [{ content: '<x>' }] }, 'missing'],
    [{ model: { ...bpe, vocab: { '</s>': -1 } } }, '-1'],
    [{ model: { ...bpe, vocab: { '</s>': 0.5 } } }, '0.5'],
  ])('%j: an id that no matrix has a row for is refused', (changes, id) => {
    const files = { 'tokenizer.json': { model: bpe, ...changes }, 'tokenizer_config.json': { eos_token: '</s>' } }
    const open = (): unknown => openTokenizer(folderWith(files))
    expect(open).toThrow(FormatError)
    expect(open).toThrow(`: ${id} is the id of a token, expected 0 to 4194303`)
  })

  it('a tokenizer.json that is a link out of the folder is not read', () => {
    const folder = folderWith({})
    fs.symlinkSync(path.join(DEMO, 'tokenizer.json'), path.join(folder, 'tokenizer.json'))
    expect(() => openTokenizer(folder)).toThrow(/it is a link that leads out of its folder/)
  })
})
