import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { UnsupportedError } from '../../../src/errors.ts'
import { openGguf } from '../../../src/formats/gguf/reader.ts'
import { createGgufWriter } from '../../../src/formats/gguf/writer.ts'
import type { ModelConfig } from '../../../src/model/config.ts'
import { readConfig } from '../../../src/model/config.ts'
import { metadataOf } from '../../../src/model/gguf-metadata.ts'
import type { TokenizerFiles } from '../../../src/model/gguf-tokenizer.ts'
import { tokenizerOf } from '../../../src/model/gguf-tokenizer.ts'
import { openTokenizer } from '../../../src/model/tokenizer.ts'
import { impliedMerges } from '../../../src/model/gguf-merges.ts'
import { vocabularyOf } from '../../../src/pipeline/convert/gguf-vocabulary.ts'

const parents: string[] = []
afterAll(() => parents.forEach((parent) => rmSync(parent, { recursive: true, force: true })))

function folderOf(tokenizer: object, config: object): string {
  parents.push(mkdtempSync(join(tmpdir(), 'spexpand-vocabulary-')))
  const folder = parents.at(-1)!
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config))
  return folder
}

/** What the reader of GGUF files makes of a vocabulary. */
function readBack(folder: string, config: ModelConfig): TokenizerFiles {
  const path = join(folder, 'vocabulary.gguf')
  const { metadata } = vocabularyOf(folder, config)
  createGgufWriter(
    path,
    new Map([['general.architecture', { type: 'string', value: 'llama' }], ...metadata]),
    [],
  ).finish()
  const file = openGguf(path)
  try {
    return tokenizerOf(metadataOf(file))
  } finally {
    file.close()
  }
}

const demo = readConfig(demoModelFolder())
type Pieces = { tokens: string[]; scores: number[]; types: number[]; texts: string[]; ids: number[][] }
const pieces = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../golden/gguf-tokenizers/sentencepiece.json'), 'utf8'),
) as Pieces & { idsWithoutPrefix: number[][] }

/** tokenizer.json of a SentencePiece vocabulary as transformers converts it. */
function sentencePiece(prefix: boolean, merges = impliedMerges(pieces.tokens, pieces.scores)): object {
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  return {
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, special: true })),
    normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace] } : replace,
    pre_tokenizer: null,
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(pieces.tokens.map((token, id) => [token, id])),
      merges,
    },
  }
}
function item(id: string): object {
  return { SpecialToken: { id, type_id: 0 } }
}

const ends = { bos_token: '<s>', eos_token: '</s>' }

describe('vocabularyOf()', () => {
  it('vocabularyOf() of byte-level BPE is read back as the same tokenizer', () => {
    const folder = demoModelFolder()
    const back = readBack(
      folderOf(JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8')) as object, ends),
      demo,
    )
    const [ours, source] = [openTokenizer(folderOf(back.tokenizer, back.config)), openTokenizer(folder)]
    for (const text of pieces.texts) expect(ours.encode(text)).toEqual(source.encode(text))
  })

  it.each([
    [true, pieces.ids],
    [false, pieces.idsWithoutPrefix],
  ])('vocabularyOf() of SentencePiece (space in front: %s) cuts text as the original does', (prefix, ids) => {
    const config = { ...demo, vocab: pieces.tokens.length }
    const folder = folderOf(sentencePiece(prefix), ends)
    const { metadata } = vocabularyOf(folder, config)
    expect(metadata.get('tokenizer.ggml.token_type')).toEqual({ type: 'i32s', value: pieces.types })
    expect(metadata.get('tokenizer.ggml.add_space_prefix')).toEqual({ type: 'bool', value: prefix })
    const { tokenizer, config: settings } = readBack(folder, config)
    const { encode } = openTokenizer(folderOf(tokenizer, settings))
    expect(pieces.texts.map(encode)).toEqual(ids)
  })

  it('vocabularyOf() says which tokens stand around a text, and fills up ids', () => {
    const tokenizer = {
      ...sentencePiece(true),
      post_processor: { type: 'TemplateProcessing', single: [item('<s>'), { Sequence: { id: 'A', type_id: 0 } }] },
    }
    const { metadata } = vocabularyOf(folderOf(tokenizer, ends), { ...demo, vocab: pieces.tokens.length + 2 })
    expect(metadata.get('tokenizer.ggml.add_bos_token')).toEqual({ type: 'bool', value: true })
    expect(metadata.get('tokenizer.ggml.add_eos_token')).toEqual({ type: 'bool', value: false })
    expect((metadata.get('tokenizer.ggml.tokens')!.value as string[]).at(-1)).toBe(`[PAD${pieces.tokens.length + 1}]`)
  })

  it('vocabularyOf() refuses what llama.cpp would cut in another way', () => {
    const config = { ...demo, vocab: pieces.tokens.length }
    const merges = impliedMerges(pieces.tokens, pieces.scores)
    const refusal = (tokenizer: object): unknown => {
      try {
        return vocabularyOf(folderOf(tokenizer, ends), config)
      } catch (error) {
        return error
      }
    }
    const shorter = merges.filter((_, rank) => rank !== 40)
    const mixed = [merges[0]!, merges.at(-1)!, merges[0]!, ...merges.slice(1, -1)]
    for (const [tokenizer, wanted] of [
      [sentencePiece(true, shorter), /list of merges is none/],
      [sentencePiece(true, mixed), /list of merges is none/],
      [{ ...sentencePiece(true), normalizer: { type: 'NFKC' } }, /normalizer and pre_tokenizer are none/],
      [{ ...sentencePiece(true), model: { type: 'Unigram' } }, /model.type is "Unigram"/],
    ] as const) {
      const error = refusal(tokenizer)
      expect(error).toBeInstanceOf(UnsupportedError)
      expect((error as Error).message).toMatch(wanted)
    }
    expect(() => vocabularyOf(folderOf(sentencePiece(true), ends), { ...demo, vocab: 100 })).toThrow(
      /has id \d+, the embedding has 100 rows/,
    )
  })
})
