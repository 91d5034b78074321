import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parseConfig, readConfig } from '../../../src/model/config.ts'
import { genaiConfig } from '../../../src/pipeline/convert/genai-config.ts'
import { exportGenai } from '../../../src/pipeline/convert/genai.ts'
import { nativeStatus } from '../../../src/runtime/native.ts'
import { addLetters } from '../../fixtures/letters.ts'
import { randomArtifact } from '../../fixtures/randomArtifact.ts'

const GOLDEN = join(import.meta.dirname, '../../golden/models')
const parents: string[] = []
afterAll(() => parents.forEach((parent) => rmSync(parent, { recursive: true, force: true })))

/** An artifact of the golden llama, with a generation_config.json of one's own. */
async function llama(generation: object = {}): Promise<{ readonly parent: string; readonly folder: string }> {
  const parent = mkdtempSync(join(tmpdir(), 'spexpand-genai-'))
  parents.push(parent)
  const model = join(parent, 'llama')
  cpSync(join(GOLDEN, 'llama'), model, { recursive: true })
  writeFileSync(join(model, 'generation_config.json'), JSON.stringify(generation))
  const { folder } = await randomArtifact({ model, experts: 2, sparsity: 0.5, parent, shardBytes: 60_000 })
  addLetters(folder, { characters: 1 })
  return { parent, folder }
}

const goldenConfig = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(GOLDEN, name, 'config.json'), 'utf8')) as Record<string, unknown>

describe('exportGenai()', () => {
  it('shares the weights, copies graph and tokenizer, and names inputs and outputs as the graph does', async () => {
    const { parent, folder } = await llama()
    const out = join(parent, 'genai')
    const result = exportGenai({ artifact: folder, out, native: false })
    expect(result).toMatchObject({ type: 'llama', operators: 'portable', weights: 'linked' })
    expect(result.platform).toBeUndefined()
    const weights = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
    expect(weights.length).toBeGreaterThan(1)
    for (const name of weights) expect(statSync(join(out, name)).ino).toBe(statSync(join(folder, name)).ino)
    expect(readFileSync(join(out, 'model.onnx'))).toEqual(readFileSync(join(folder, 'model.onnx')))
    expect(result.files).toEqual(readdirSync(out).sort())
    expect(result.files).toEqual(expect.arrayContaining(['config.json', 'tokenizer.json', 'tokenizer_config.json']))
    expect(result.files).not.toContain('spexpand.json')
    const { model, search } = JSON.parse(readFileSync(join(out, 'genai_config.json'), 'utf8'))
    const { hidden, headDim, heads, kvHeads, layers, vocab, maxPositions } = readConfig(folder)
    expect(model).toMatchObject({ context_length: maxPositions, vocab_size: vocab })
    expect(model.decoder).toMatchObject({ hidden_size: hidden, head_size: headDim, num_attention_heads: heads })
    expect(model.decoder).toMatchObject({ num_key_value_heads: kvHeads, num_hidden_layers: layers })
    expect(model.decoder.session_options).not.toHaveProperty('custom_ops_library')
    expect(search).toMatchObject({ do_sample: false, past_present_share_buffer: true, max_length: maxPositions })
  })

  it('stops at every end that the model names, and samples as its generation_config.json says', async () => {
    const { parent, folder } = await llama({ eos_token_id: [1, 7], do_sample: true, temperature: 0.6, top_k: 20 })
    const out = join(parent, 'genai')
    exportGenai({ artifact: folder, out, native: false })
    const { model, search } = JSON.parse(readFileSync(join(out, 'genai_config.json'), 'utf8'))
    expect(model.eos_token_id).toEqual([...new Set([1, 7, ...readConfig(folder).eosTokenIds])].sort((a, b) => a - b))
    expect(search).toMatchObject({ do_sample: true, temperature: 0.6, top_k: 20, top_p: 1 })
    const hot = await llama({ temperature: 'hot' })
    expect(() => exportGenai({ artifact: hot.folder, out: join(hot.parent, 'b') })).toThrow(/temperature is the string/)
    expect(readdirSync(hot.parent)).not.toContain('b')
  })

  it('takes the operator library along where it is built, says why where it does not, and refuses to pretend', async () => {
    const { parent, folder } = await llama()
    const status = nativeStatus()
    const result = exportGenai({ artifact: folder, out: join(parent, 'auto') })
    if (status.found && status.operatorsPath !== undefined) {
      const { model } = JSON.parse(readFileSync(join(parent, 'auto', 'genai_config.json'), 'utf8'))
      const name = model.decoder.session_options.custom_ops_library as string
      expect(result).toMatchObject({ operators: 'native', platform: `${process.platform}-${process.arch}` })
      expect(readFileSync(join(parent, 'auto', name))).toEqual(readFileSync(status.operatorsPath))
      expect(statSync(join(parent, 'auto', name)).ino).not.toBe(statSync(status.operatorsPath).ino)
    } else {
      expect(result).toMatchObject({ operators: 'portable', because: expect.stringMatching(/native|operator/) })
      expect(() => exportGenai({ artifact: folder, out: join(parent, 'native'), native: true })).toThrow(/Cannot run/)
    }
  })

  it('refuses a folder that is not empty, and what is no artifact', async () => {
    const { parent, folder } = await llama()
    const full = join(parent, 'full')
    mkdirSync(full)
    cpSync(join(folder, 'config.json'), join(full, 'config.json'))
    expect(() => exportGenai({ artifact: folder, out: full })).toThrow(/not empty/)
    expect(() => exportGenai({ artifact: full, out: join(parent, 'x') })).toThrow(/spexpand\.json/)
  })
})

describe('genaiConfig()', () => {
  it.each([
    ['gpt2', 'decoder'],
    ['opt', 'decoder'],
    ['gemma2', 'gemma2'],
    ['qwen3', 'qwen3'],
  ])('%s is of type %s', (name, type) => {
    const config = parseConfig(goldenConfig(name), name)
    const options = { stopIds: [2], generation: {}, generationFile: 'none' }
    expect(genaiConfig(config, options).model.type).toBe(type)
  })

  it('shares no cache buffer where heads are of standard operators, and no cache of a whole long context', () => {
    const config = parseConfig(goldenConfig('llama'), 'llama')
    const options = { stopIds: [2, 5], generation: {}, generationFile: 'none' }
    const { model, search } = genaiConfig({ ...config, headDim: 12, maxPositions: 131_072 }, options)
    expect(search).toMatchObject({ past_present_share_buffer: false, max_length: 4096 })
    expect(model).toMatchObject({ context_length: 131_072, eos_token_id: [2, 5], pad_token_id: 2 })
  })
})
