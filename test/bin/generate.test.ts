import { describe, expect, it } from 'vitest'
import { UnsupportedError } from '../../src/errors.ts'
import type { DoctorResult, GenerateAllOptions, GenerateOptions, GenerateResult } from '../../src/index.ts'
import { runCli } from './context.ts'

const generated: GenerateResult = {
  model: 'm',
  prompt: 'And',
  text: ' it',
  promptTokens: 1,
  newTokens: 2,
  ids: [5, 6],
  stopped: 'length',
  promptTokensPerSecond: 100,
  decodeTokensPerSecond: 12.5,
  promptMs: 10,
  decodeMs: 80,
  loadMs: 5,
  runtime: 'onnxruntime cpu, dense',
  threads: 1,
}

const healthy: DoctorResult = {
  version: '0.1.0',
  node: '20.20.2',
  platform: 'linux-x64',
  cpu: { model: 'Some Processor', processors: 4, usable: 2, features: ['avx2', 'fma'] },
  memory: { totalBytes: 8e9, availableBytes: 4e9 },
  onnxruntime: { package: '1.30.0', library: '1.30.0' },
  providers: [
    { provider: 'cpu', works: true },
    { provider: 'spexpand', works: false, because: 'not built', remedy: 'build it' },
  ],
  native: {},
  wasm: true,
  notes: ['spexpand does not run here (not built): slow: build it'],
}

describe('spexpand generate', () => {
  it('hands every flag to the option of the same name, and prints text and speed apart', async () => {
    const calls: object[] = []
    const line =
      'generate m --prompt And --max-new-tokens 2 --temperature 0.5 --top-k 7 --top-p 0.9 --seed 3 --provider spexpand --threads 1'
    const { code, stdout, stderr } = await runCli(line, {
      generate: (options: GenerateOptions) => {
        const { onText, onProgress: _, signal, ...rest } = options
        expect(signal?.aborted).toBe(false)
        calls.push(rest)
        for (const piece of [' i', 't']) onText?.(piece)
        return Promise.resolve(generated)
      },
    })
    expect(code).toBe(0)
    expect(calls).toEqual([
      {
        model: 'm',
        prompt: 'And',
        maxNewTokens: 2,
        temperature: 0.5,
        topK: 7,
        topP: 0.9,
        seed: 3,
        provider: 'spexpand',
        threads: 1,
      },
    ])
    expect(stdout).toBe('And it\n')
    expect(stderr).toBe('prompt 1 tokens in 10 ms (100/s), 2 new in 80 ms (12.5/s); onnxruntime cpu, dense, 1 thread\n')
  })

  it('prints one object under --json, and nothing but the error when there is no text', async () => {
    const { stdout, stderr } = await runCli('generate m --prompt And --json', {
      generate: () => Promise.resolve(generated),
    })
    expect(JSON.parse(stdout)).toEqual(generated)
    expect(stderr).toBe('')
    const failed = await runCli('generate m --prompt And --provider cuda', {
      generate: () => Promise.reject(new UnsupportedError('Cannot run on "cuda": none')),
    })
    expect(failed).toEqual({ code: 4, stdout: '', stderr: 'spexpand: Cannot run on "cuda": none\n' })
  })

  it('hands --chat, --system and every --stop on, prints the answer alone, and the wait for its first token', async () => {
    const calls: GenerateOptions[] = []
    const { stdout, stderr } = await runCli('generate m --prompt And --chat --system Short. --stop a --stop b', {
      generate: (options: GenerateOptions) => {
        calls.push(options)
        options.onProgress?.({ stage: 'load', done: 0, total: 1 })
        options.onText?.(' it')
        return Promise.resolve({ ...generated, firstTokenMs: 15 })
      },
    })
    expect(calls[0]).toMatchObject({ chat: true, system: 'Short.', stop: ['a', 'b'] })
    expect(stdout).toBe(' it\n')
    expect(stderr).toMatch(/^\[0 ms\] load\nfirst token after 15 ms; prompt 1 tokens/)
    const all = {
      generateAll: (options: GenerateAllOptions) => (options.onResult?.(generated, 0), Promise.resolve([])),
    }
    expect((await runCli('generate m --prompts p.jsonl --chat', all)).stdout).toBe('And\n it\n')
  })

  it('wants a prompt and a known provider', async () => {
    expect((await runCli('generate m')).code).toBe(2)
    const { code, stderr } = await runCli('generate m --prompt x --provider tpu')
    expect([code, stderr]).toEqual([2, 'spexpand: --provider: got tpu, wanted one of cpu, spexpand, cuda, webgpu\n'])
  })
})

describe('spexpand doctor', () => {
  it('prints what is there and a note for what is missing, and succeeds', async () => {
    const { code, stdout } = await runCli('doctor', { doctor: () => Promise.resolve(healthy) })
    expect(code).toBe(0)
    expect(stdout).toContain('cpu yes, spexpand no')
    expect(stdout).toContain('2 of 4 processors usable')
    expect(stdout).toMatch(/Notes:\n {2}spexpand does not run here \(not built\)/)
    const whole = await runCli('doctor', { doctor: () => Promise.resolve({ ...healthy, notes: [] }) })
    expect(whole.stdout).toContain('Nothing is missing.')
  })

  it('prints one object under --json', async () => {
    const { stdout } = await runCli('doctor --json', { doctor: () => Promise.resolve(healthy) })
    expect(JSON.parse(stdout)).toEqual(healthy)
  })

  it('hands --griffin, --prompt-chunk and --prompts on, and wants one of --prompt and --prompts', async () => {
    const calls: object[] = []
    const library = {
      generateAll: (options: object) => {
        calls.push(options)
        return Promise.resolve([generated, generated])
      },
    }
    const { stdout } = await runCli('generate m --prompts p.jsonl --griffin 0.25 --prompt-chunk 8 --json', library)
    expect(JSON.parse(stdout)).toEqual([generated, generated])
    expect(calls[0]).toMatchObject({ prompts: { file: 'p.jsonl' }, griffin: { density: 0.25 }, promptChunk: 8 })
    await runCli('generate m --prompts p.jsonl --griffin', library)
    await runCli('generate m --prompts p.jsonl --griffin ./g.json', library)
    expect(calls.slice(1)).toMatchObject([{ griffin: 'auto' }, { griffin: { file: './g.json' } }])
    expect((await runCli('generate m', library)).code).toBe(2)
    expect((await runCli('generate m --prompt a --prompts b', library)).code).toBe(2)
  })
})
