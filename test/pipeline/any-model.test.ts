import fs from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { defaultOut } from '../../bin/commands/compress.ts'
import { failureOf } from '../../bin/failure.ts'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { FormatError, NetworkError, UsageError } from '../../src/errors.ts'
import { compress, evaluate, forwardFile, generate, inspect, localModel, readSafetensors } from '../../src/index.ts'
import { modelName } from '../../src/model/name.ts'
import { cacheFolder, ggufFolder } from '../../src/pipeline/gguf-folder.ts'
import type { Progress } from '../../src/pipeline/types.ts'
import { writeGgufModel } from '../fixtures/gguf-model.ts'
import { temporaryFolder } from '../formats/temp.ts'
import type { FakeHub } from '../hub/server.ts'
import { COMMIT, fakeHub } from '../hub/server.ts'

const GOLDEN = path.join(import.meta.dirname, '../golden')
const LLAMA = path.join(GOLDEN, 'gguf/llama-f32.gguf')
const folder = temporaryFolder()

let hub: FakeHub
beforeAll(async () => {
  const names = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors']
  const demo = names.map((name) => [name, fs.readFileSync(path.join(demoModelFolder(), name))] as const)
  hub = await fakeHub({ ...Object.fromEntries(demo), 'tiny.gguf': fs.readFileSync(LLAMA) })
  vi.stubEnv('SPEXPAND_CACHE', path.join(folder, 'cache'))
  vi.stubEnv('HF_HOME', path.join(folder, 'hf'))
  vi.stubEnv('HF_ENDPOINT', hub.endpoint)
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await hub.close()
})

describe('localModel()', () => {
  it('takes folders as they are', async () => {
    expect(await localModel(demoModelFolder())).toBe(demoModelFolder())
  })

  it('converts a GGUF file once, under a folder of its name', async () => {
    const seen: string[] = []
    const converted = await localModel(LLAMA, { onProgress: ({ stage }) => void seen.push(stage) })
    expect(path.basename(converted)).toBe('llama-f32')
    expect(fs.readdirSync(converted)).toContain('model.safetensors')
    expect(seen).toContain('convert')
    const made = fs.statSync(path.join(converted, 'model.safetensors')).mtimeMs
    expect(await localModel(LLAMA)).toBe(converted)
    expect(fs.statSync(path.join(converted, 'model.safetensors')).mtimeMs).toBe(made)
  })

  it('fetches models of the hub, and GGUF files of them', async () => {
    const snapshot = await localModel('org/tiny')
    expect(modelName(snapshot)).toBe('org/tiny')
    expect(snapshot).toContain(COMMIT)
    expect(await localModel('hf:org/tiny', { offline: true })).toBe(snapshot)
    expect(path.basename(await localModel('org/tiny/tiny.gguf'))).toBe('tiny')
    await expect(localModel('org/tiny', { revision: 'v2' })).rejects.toThrow(NetworkError)
  })

  it('downloads once for two that ask at the same time', async () => {
    vi.stubEnv('HF_HOME', path.join(folder, 'hf-together'))
    const before = hub.requests.length
    const [a, b] = await Promise.all([localModel('org/tiny'), localModel('org/tiny')])
    vi.stubEnv('HF_HOME', path.join(folder, 'hf'))
    expect(a).toBe(b)
    const gets = hub.requests.slice(before).filter(({ line }) => line.startsWith('GET /lfs/model.safetensors'))
    expect(gets.length).toBe(1)
    const weights = fs.readFileSync(path.join(demoModelFolder(), 'model.safetensors'))
    expect(fs.readFileSync(path.join(a!, 'model.safetensors')).equals(weights)).toBe(true)
    const names = fs.readdirSync(path.join(folder, 'hf-together'), { recursive: true }).map(String)
    expect(names.filter((name) => /incomplete|fresh|\.spexpand|\.link$/.test(name))).toEqual([])
  })

  it('says what it looked for', async () => {
    await expect(localModel('./nowhere')).rejects.toThrow(FormatError)
    await expect(localModel('./nowhere')).rejects.toThrow(/no such file or folder, and no model of the hub/)
  })
})

describe('ggufFolder()', () => {
  afterEach(() => vi.stubEnv('SPEXPAND_CACHE', path.join(folder, 'cache')))

  it('leaves nothing when it is stopped, and removes what a killed process left', async () => {
    vi.stubEnv('SPEXPAND_CACHE', path.join(folder, 'stopped'))
    const controller = new AbortController()
    const { signal } = controller
    const stop = ggufFolder(LLAMA, { signal, onProgress: ({ done }) => done > 0 && controller.abort() })
    await expect(stop).rejects.toMatchObject({ name: 'AbortError' })
    const [key, ...others] = fs.readdirSync(path.join(folder, 'stopped/gguf'))
    expect(others).toEqual([])
    const cache = path.join(folder, 'stopped/gguf', key!)
    expect(fs.readdirSync(cache)).toEqual([])
    // No process has the largest number that a pid may have.
    fs.mkdirSync(path.join(cache, 'llama-f32.partial-4194304'))
    await ggufFolder(LLAMA)
    expect(fs.readdirSync(cache)).toEqual(['llama-f32'])
  })

  it('converts once for two that ask at the same time, and tells the second one what it waits for', async () => {
    vi.stubEnv('SPEXPAND_CACHE', path.join(folder, 'together'))
    const seen: Progress[][] = [[], []]
    const found = await Promise.all(seen.map((all) => ggufFolder(LLAMA, { onProgress: (one) => void all.push(one) })))
    expect(found[0]).toBe(found[1])
    expect(seen.map((all) => all.some(({ note }) => note?.includes('waiting')))).toEqual([false, true])
    expect(seen.map((all) => all.some(({ done }) => done > 0))).toEqual([true, false])
    expect(fs.readdirSync(path.join(folder, 'together/gguf')).length).toBe(1)
    expect(fs.readdirSync(path.dirname(found[0]!))).toEqual(['llama-f32'])
  })

  it('is kept where the variables say', () => {
    expect(cacheFolder({ SPEXPAND_CACHE: '/own', XDG_CACHE_HOME: '/x' })).toBe('/own')
    expect(cacheFolder({ XDG_CACHE_HOME: '/x' })).toBe('/x/spexpand')
    expect(cacheFolder({})).toMatch(/\.cache\/spexpand$/)
  })
})

describe('calls of the library', () => {
  it('compress a GGUF file, and measure the artifact against it', async () => {
    const text = path.join(folder, 'text.txt')
    fs.writeFileSync(text, 'The quick brown fox jumps over the lazy dog. '.repeat(100))
    const out = path.join(folder, 'artifact')
    const common = { text: { paths: [text] }, sequenceLength: 64, threads: 1 }
    const result = await compress({ ...common, model: LLAMA, out, experts: 2, tokens: 512 })
    expect(result.blocks).toHaveLength(2)
    const manifest = JSON.parse(fs.readFileSync(path.join(out, 'spexpand.json'), 'utf8')) as {
      source: { name: string }
    }
    expect(manifest.source.name).toBe('llama-f32')
    const measured = await evaluate({ ...common, model: out, dense: LLAMA, windows: 2 })
    expect(measured.kl).toBeGreaterThan(0)
  })

  it('evaluate and continue a GGUF file as the folder that it came from', async () => {
    const gguf = writeGgufModel(demoModelFolder(), path.join(folder, 'demo.gguf'), demoTokenizer())
    const options = { windows: 2, sequenceLength: 64, threads: 1 }
    const { perplexity, model } = await evaluate({ ...options, model: gguf })
    expect(perplexity).toBe((await evaluate({ ...options, model: demoModelFolder() })).perplexity)
    expect(model).toBe(gguf)
    const said = await generate({ model: gguf, prompt: 'And it came', maxNewTokens: 4, threads: 1 })
    const same = await generate({ model: demoModelFolder(), prompt: 'And it came', maxNewTokens: 4, threads: 1 })
    expect([said.ids, said.model]).toEqual([same.ids, gguf])
  })

  it('evaluate a model of the hub as the folder that it is a copy of', async () => {
    const options = { windows: 2, sequenceLength: 64, threads: 1 }
    const { perplexity, model } = await evaluate({ ...options, model: 'org/tiny' })
    expect(perplexity).toBe((await evaluate({ ...options, model: demoModelFolder() })).perplexity)
    expect(model).toBe('org/tiny')
  })

  it('give a GGUF file the golden logits through forward', async () => {
    const golden = path.join(GOLDEN, 'models/llama/golden.safetensors')
    const out = path.join(folder, 'states.safetensors')
    await forwardFile({ model: LLAMA, input: golden, out, threads: 1 })
    const [a, b] = [logitsOf(out), logitsOf(golden)]
    expect(a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i]!)), 0)).toBeLessThan(2e-4)
  })

  it('render conversations of a text by the chat template of the model', async () => {
    const model = path.join(folder, 'chatty')
    fs.cpSync(demoModelFolder(), model, { recursive: true })
    fs.writeFileSync(
      path.join(model, 'chat_template.jinja'),
      '{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}',
    )
    const messages = Array.from({ length: 40 }, (_, i) => ({
      role: i % 2 ? 'bot' : 'user',
      content: `Line ${i} of it.`,
    }))
    const chat = path.join(folder, 'chat.jsonl')
    fs.writeFileSync(chat, `${JSON.stringify({ messages })}\n`)
    const plain = path.join(folder, 'same.jsonl')
    const text = messages.map(({ role, content }) => `<${role}>${content}\n`).join('')
    fs.writeFileSync(plain, `${JSON.stringify({ text, domain: 'chat' })}\n`)
    const options = { model, windows: 2, sequenceLength: 32, threads: 1 }
    const rendered = await evaluate({ ...options, text: { paths: [chat] }, chatTemplate: true })
    const written = await evaluate({ ...options, text: { paths: [plain] } })
    expect(rendered.perplexity).toBe(written.perplexity)
    await expect(evaluate({ ...options, text: { paths: [chat] } })).rejects.toThrow(/"messages" need --chat-template/)
    await expect(evaluate({ ...options, chatTemplate: true })).rejects.toThrow(UsageError)
    const bad = path.join(folder, 'bad.jsonl')
    fs.writeFileSync(bad, '{"messages": [{"content": "nobody"}]}\n')
    await expect(evaluate({ ...options, text: { paths: [bad] }, chatTemplate: true })).rejects.toThrow(
      /line 1: field "messages" is no list of objects with a string "role"/,
    )
    await expect(
      evaluate({ ...options, model: demoModelFolder(), text: { paths: [chat] }, chatTemplate: true }),
    ).rejects.toThrow(/has no chat template/)
  })
})

describe('the command line', () => {
  it('names artifacts after GGUF files and models of the hub, and ends with 9 where the hub fails', () => {
    expect(defaultOut('models/SmolLM2.Q4_1.gguf')).toBe('SmolLM2.Q4_1-spexpand')
    expect(defaultOut('HuggingFaceTB/SmolLM2-135M')).toBe('SmolLM2-135M-spexpand')
    expect(failureOf(new NetworkError('gone')).code).toBe(9)
  })
})

describe('inspect()', () => {
  it('says what is in a GGUF file', () => {
    const { kind, tensors, metadata } = inspect(path.join(GOLDEN, 'gguf/tensor-Q4_K.gguf')) as unknown as {
      kind: string
      tensors: { name: string; dtype: string; shape: number[]; bytes: number }[]
      metadata: Record<string, unknown>
    }
    expect(kind).toBe('gguf')
    expect(tensors).toEqual([{ name: 'blk.0.ffn_up.weight', dtype: 'Q4_K', shape: [6, 512], bytes: 1728 }])
    expect(metadata['general.architecture']).toBeDefined()
  })
})

function logitsOf(file: string): Float32Array {
  return new Float32Array(Uint8Array.from(readSafetensors(file).tensors.get('logits')!.bytes).buffer)
}

/** The demo model's tokenizer as GGUF metadata. */
function demoTokenizer(): Parameters<typeof writeGgufModel>[2] {
  const file = path.join(demoModelFolder(), 'tokenizer.json')
  const { model } = JSON.parse(fs.readFileSync(file, 'utf8')) as {
    model: { vocab: Record<string, number>; merges: string[][] }
  }
  const tokens = Object.keys(model.vocab).sort((a, b) => model.vocab[a]! - model.vocab[b]!)
  return {
    'tokenizer.ggml.model': { type: 'string', value: 'gpt2' },
    'tokenizer.ggml.pre': { type: 'string', value: 'gpt-2' },
    'tokenizer.ggml.tokens': { type: 'strings', value: tokens },
    'tokenizer.ggml.token_type': { type: 'i32s', value: tokens.map((_, i) => (i === 0 ? 3 : 1)) },
    'tokenizer.ggml.merges': { type: 'strings', value: model.merges.map((pair) => pair.join(' ')) },
    'tokenizer.ggml.bos_token_id': { type: 'u32', value: 0 },
    'tokenizer.ggml.eos_token_id': { type: 'u32', value: 0 },
  }
}
