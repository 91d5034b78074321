import { describe, expect, it } from 'vitest'
import type { GenaiOptions, GenaiResult } from '../../src/index.ts'
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
