import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { FormatError, UnsupportedError } from '../../src/errors.ts'
import { readSafetensors } from '../../src/formats/safetensors/reader.ts'
import { readConfig } from '../../src/model/config.ts'
import { convertGguf, isGgufPath } from '../../src/model/gguf-convert.ts'
import { openModel } from '../../src/model/open.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import { forward } from '../../src/pipeline/forward.ts'
import type { Meta } from '../fixtures/gguf.ts'
import { f32Tensor, writeGguf } from '../fixtures/gguf.ts'
import { writeGgufModel } from '../fixtures/gguf-model.ts'
import { temporaryFolder } from '../formats/temp.ts'

const GOLDEN = path.join(import.meta.dirname, '../golden')
const TOLERANCE = 2e-4
const folder = temporaryFolder()

function floats(bytes: Uint8Array): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer)
}

function text(value: string): Meta {
  return { type: 'string', value }
}

function u32(value: number): Meta {
  return { type: 'u32', value }
}

async function converted(name: string, file: string): Promise<string> {
  const out = path.join(folder, name)
  await convertGguf(file, out)
  return out
}

/** Largest difference between the logits of a model folder and the golden ones of `name`. */
async function logitError(model: string, name: string): Promise<number> {
  const { tensors } = readSafetensors(path.join(GOLDEN, 'models', name, 'golden.safetensors'))
  const { shape, bytes } = tensors.get('input_ids')!
  const opened = openModel(model)
  try {
    const data = new BigInt64Array(Uint8Array.from(bytes).buffer)
    const { logits } = await forward(opened, { data, B: shape[0]!, T: shape[1]! }, { threads: 1 })
    const expected = floats(tensors.get('logits')!.bytes)
    expect(logits.length).toBe(expected.length)
    return logits.reduce((worst, x, i) => (Math.abs(x - expected[i]!) <= worst ? worst : Math.abs(x - expected[i]!)), 0)
  } finally {
    opened.close()
  }
}

describe('convertGguf()', () => {
  it('gives llama-f32.gguf the golden logits, and a tokenizer', async () => {
    const model = await converted('golden-llama', path.join(GOLDEN, 'gguf/llama-f32.gguf'))
    expect(await logitError(model, 'llama')).toBeLessThan(TOLERANCE)
    const tokenizer = openTokenizer(model)
    expect(tokenizer.vocabSize).toBe(272)
    // It has no token but bytes: those of '▁a', behind the three special ones.
    expect(tokenizer.encode('a')).toEqual([0xe2, 0x96, 0x81, 0x61].map((byte) => byte + 3))
  })

  // gemma2's golden model has a query scale of its own, which GGUF files do not hold: see below.
  it.each(['llama', 'llama3-rope', 'qwen2', 'qwen3', 'phi3', 'gpt2', 'gpt_neox'])(
    'undoes what the converter does to %s',
    async (name) => {
      const original = path.join(GOLDEN, 'models', name)
      const model = await converted(name, writeGgufModel(original, path.join(folder, `${name}.gguf`)))
      const theirs = readSafetensors(path.join(original, 'model.safetensors')).tensors
      const ours = readSafetensors(path.join(model, 'model.safetensors')).tensors
      expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
      for (const [key, { shape, bytes }] of theirs) {
        expect(ours.get(key)!.shape).toEqual(shape)
        expect(Buffer.compare(ours.get(key)!.bytes, bytes), key).toBe(0)
      }
      const config = readConfig(model)
      const expected = readConfig(original)
      expect(config).toEqual({ ...expected, dtype: config.dtype, bosTokenId: 1, eosTokenIds: [2] })
      expect(await logitError(model, name)).toBeLessThan(TOLERANCE)
    },
  )

  it('takes one from the norms of gemma2, and reads its caps and windows', async () => {
    const original = path.join(GOLDEN, 'models/gemma2')
    const model = await converted('gemma2', writeGgufModel(original, path.join(folder, 'gemma2.gguf')))
    const theirs = readSafetensors(path.join(original, 'model.safetensors')).tensors
    const ours = readSafetensors(path.join(model, 'model.safetensors')).tensors
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
    for (const [key, { bytes }] of theirs) {
      const [a, b] = [floats(ours.get(key)!.bytes), floats(bytes)]
      // The file's 1 + w was rounded to float32.
      const worst = a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)
      expect(worst, key).toBeLessThanOrEqual(key.includes('norm') ? 2 ** -24 : 0)
    }
    const config = readConfig(model)
    expect(fs.readFileSync(path.join(model, 'config.json'), 'utf8')).toMatch(/"final_logit_softcapping": 6\.0,?\n/)
    expect(config).toEqual({
      ...readConfig(original),
      attentionScale: 1 / Math.sqrt(16), // by the head size, as every model of this family but one has it
      dtype: config.dtype,
      bosTokenId: 1,
      eosTokenIds: [2],
    })
  })

  it('keeps F16 as it is', async () => {
    const half = { shape: [2, 2], kind: 1, bytes: Uint8Array.of(0, 0x3c, 0, 0x40, 0, 0x42, 0, 0x44) }
    const metadata: Record<string, Meta> = {
      'general.architecture': { type: 'string', value: 'qwen2' },
      ...Object.fromEntries(
        ['embedding_length', 'attention.head_count', 'feed_forward_length', 'block_count', 'context_length'].map(
          (key) => [`qwen2.${key}`, u32(2)],
        ),
      ),
      'qwen2.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
      'tokenizer.ggml.model': { type: 'string', value: 'llama' },
      'tokenizer.ggml.tokens': { type: 'strings', value: ['a', 'b'] },
      'tokenizer.ggml.scores': { type: 'f32s', value: [0, 0] },
    }
    const model = await converted(
      'half',
      writeGguf(path.join(folder, 'half.gguf'), metadata, { 'token_embd.weight': half }),
    )
    const { tensors } = readSafetensors(path.join(model, 'model.safetensors'))
    expect(tensors.get('model.embed_tokens.weight')).toEqual({
      dtype: 'F16',
      shape: half.shape,
      bytes: new Uint8Array(half.bytes),
    })
  })

  it('gives equal bytes for equal files', async () => {
    const model = writeGgufModel(path.join(GOLDEN, 'models/llama'), path.join(folder, 'a.gguf'))
    const [one, two] = [await converted('one', model), await converted('two', model)]
    for (const name of fs.readdirSync(one))
      expect(fs.readFileSync(path.join(one, name)).equals(fs.readFileSync(path.join(two, name))), name).toBe(true)
  })

  it('tells how many tensors are done, and leaves no weights when it is stopped', async () => {
    const file = path.join(GOLDEN, 'gguf/llama-f32.gguf')
    const out = path.join(folder, 'stopped')
    const seen: number[] = []
    const stop = new Error('stop')
    await expect(
      convertGguf(file, out, (done, total) => {
        seen.push(done, total)
        if (done === 2) throw stop
      }),
    ).rejects.toThrow(stop)
    expect(seen).toEqual([0, 20, 1, 20, 2, 20])
    expect(fs.readdirSync(out).filter((name) => /safetensors|^config/.test(name))).toEqual([])
  })

  const embedding = { 'token_embd.weight': f32Tensor([2, 2], [1, 2, 3, 4]) }
  it.each<[string, Record<string, Meta>, typeof embedding | Record<string, never>, RegExp]>([
    ['no architecture', {}, embedding, /general.architecture is missing/],
    [
      'an unknown architecture',
      { 'general.architecture': text('mamba') },
      embedding,
      /architecture is "mamba", supported/,
    ],
    ['no weights', { 'general.architecture': text('llama') }, {}, /it has no tensor "token_embd.weight"/],
    ['missing sizes', { 'general.architecture': text('llama') }, embedding, /llama.embedding_length is missing/],
    [
      'a part of a file',
      { 'general.architecture': text('llama'), 'split.count': { type: 'u32', value: 3 } },
      embedding,
      /one of 3 parts/,
    ],
    [
      'heads by layer',
      {
        'general.architecture': text('llama'),
        'llama.embedding_length': { type: 'u32', value: 2 },
        'llama.attention.head_count': { type: 'i32s', value: [1, 2] },
      },
      embedding,
      /llama.attention.head_count is a list of 2, expected a whole number/,
    ],
  ])('refuses %s', async (_, metadata, tensors, message) => {
    const file = writeGguf(path.join(folder, 'bad.gguf'), metadata, tensors)
    await expect(convertGguf(file, path.join(folder, 'bad'))).rejects.toThrow(message)
  })

  it('refuses tensors and rotary factors that it would have to leave out', async () => {
    const llama = path.join(GOLDEN, 'models/llama3-rope')
    const scaling = { 'llama.rope.scaling.type': text('weird') }
    const plain = path.join(GOLDEN, 'models/llama')
    await expect(converted('weird', writeGgufModel(plain, path.join(folder, 'w.gguf'), scaling))).rejects.toThrow(
      /rope.scaling.type is "weird", supported are none, linear, yarn/,
    )
    const theta = { 'llama.rope.freq_base': { type: 'f32', value: 77 } } as const
    await expect(converted('other', writeGgufModel(llama, path.join(folder, 'o.gguf'), theta))).rejects.toThrow(
      /rope_freqs.weight is not scaled by the rule of Llama 3/,
    )
    const moe = { 'general.architecture': text('qwen3') }
    await expect(
      converted('moe', writeGgufModel(path.join(GOLDEN, 'models/qwen2'), path.join(folder, 'm.gguf'), moe)),
    ).rejects.toThrow(FormatError)
  })
})

describe('isGgufPath()', () => {
  it('goes by the extension', () => {
    expect([isGgufPath('a/model.Q4_K_M.GGUF'), isGgufPath('a/gguf'), isGgufPath('model.safetensors')]).toEqual([
      true,
      false,
      false,
    ])
  })

  it('belongs to errors that say what is supported', async () => {
    const file = writeGguf(path.join(folder, 'x.gguf'), { 'general.architecture': { type: 'string', value: 'x' } }, {})
    await expect(convertGguf(file, folder)).rejects.toThrow(UnsupportedError)
  })
})
