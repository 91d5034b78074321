import { describe, expect, it } from 'vitest'
import type { GenaiOptions, GenaiResult, GgufOptions, MixtralOptions } from '../../src/index.ts'
import { runCli } from './context.ts'

const exported: GenaiResult = {
  out: 'g',
  files: ['genai_config.json', 'model.onnx'],
  type: 'llama',
  operators: 'portable',
  because: 'not built',
  weights: 'linked',
  contextLength: 1024,
  maxLength: 1024,
}

async function refused(flags: string): Promise<string> {
  const { code, stderr } = await runCli(`export a --out g ${flags}`)
  expect(code).toBe(2)
  return stderr
}

describe('spexpand export --to genai', () => {
  it('hands --native and --portable on, leaves the choice to the library without them, and prints what it was', async () => {
    const calls: GenaiOptions[] = []
    const library = {
      exportGenai: (options: GenaiOptions) => {
        calls.push(options)
        return exported
      },
    }
    const { code, stdout } = await runCli('export a --to genai --out g', library)
    expect(code).toBe(0)
    expect(stdout).toMatch(/operators +portable\n *because +not built/)
    await runCli('export a --to genai --out g --native', library)
    const { stdout: json } = await runCli('export a --to genai --out g --portable --json', library)
    expect(calls).toEqual([{}, { native: true }, { native: false }].map((one) => ({ artifact: 'a', out: 'g', ...one })))
    expect(JSON.parse(json)).toEqual(exported)
  })

  it('refuses flags of the other formats', async () => {
    expect(await refused('--to hf-dense --native')).toContain('--native is for --to genai')
    expect(await refused('--to genai --weights f16')).toContain('--weights is for --to hf-dense')
    expect(await refused('--to genai --native --portable')).toMatch(/--portable.*--native/)
  })
})

describe('spexpand export --to mixtral, --to gguf', () => {
  it('hands the type of the weights on, and leaves it to the library without one', async () => {
    const calls: (GgufOptions | MixtralOptions)[] = []
    const written = { out: 'g', bytes: 9, experts: 2, sparsity: 0.7, weights: 'F16' }
    const library = {
      exportMixtral: async (options: MixtralOptions) => {
        calls.push(options)
        return { ...written, files: ['config.json'], computeType: 'float32' }
      },
      exportGguf: async (options: GgufOptions) => {
        calls.push(options)
        return { ...written, notes: ['normalizer NFC is left out'] }
      },
    }
    expect((await runCli('export a --to mixtral --out g', library)).code).toBe(0)
    await runCli('export a --to mixtral --out g --weights bf16', library)
    const { stdout } = await runCli('export a --to gguf --out g.gguf --weights q8_0', library)
    expect(stdout).toMatch(/notes +normalizer NFC is left out/)
    expect(calls).toEqual([
      { artifact: 'a', out: 'g' },
      { artifact: 'a', out: 'g', weights: 'bf16' },
      { artifact: 'a', out: 'g.gguf', weights: 'q8_0' },
    ])
  })

  it('refuses q8_0 and the flags of genai', async () => {
    expect(await refused('--to mixtral --weights q8_0')).toContain('--weights q8_0 is for --to gguf')
    expect(await refused('--to gguf --portable')).toContain('--portable is for --to genai')
  })
})
