import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { UsageError } from '../../src/errors.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import type { GenerateOptions } from '../../src/pipeline/generate.ts'
import { generate } from '../../src/pipeline/generate.ts'

const options: GenerateOptions = {
  model: demoModelFolder(),
  prompt: 'And it came to pass',
  maxNewTokens: 12,
  threads: 1,
}

describe('generate()', () => {
  it('gives the text of its tokens, in pieces as they come', async () => {
    const pieces: string[] = []
    const result = await generate({ ...options, onText: (text) => pieces.push(text) })
    const tokenizer = openTokenizer(options.model)
    expect(result.newTokens).toBe(12)
    expect(pieces.join('')).toBe(result.text)
    expect(pieces.length).toBeGreaterThan(6)
    const prompt = tokenizer.encode(options.prompt)
    expect(result.promptTokens).toBe(prompt.length)
    expect(tokenizer.decode([...prompt, ...result.ids])).toBe(options.prompt + result.text)
    expect(result.promptTokensPerSecond).toBeGreaterThan(0)
    expect(result.decodeTokensPerSecond).toBeGreaterThan(0)
    expect(result.runtime).toBe('onnxruntime cpu, dense')
  })

  it('gives the same tokens for the same seed, and others for another', async () => {
    const sampled = { ...options, temperature: 1.5, maxNewTokens: 20 }
    const [first, again, other] = [
      await generate(sampled),
      await generate(sampled),
      await generate({ ...sampled, seed: 1 }),
    ]
    expect(again.ids).toEqual(first.ids)
    expect(other.ids).not.toEqual(first.ids)
  })

  it('begins an empty prompt at the end-of-text token', async () => {
    expect(await generate({ ...options, prompt: '', maxNewTokens: 2 })).toMatchObject({ promptTokens: 1 })
  })

  it('refuses a text longer than the positions of the model, and impossible samplings', async () => {
    await expect(generate({ ...options, maxNewTokens: 1e6 })).rejects.toThrow(/positions: lower --max-new-tokens/)
    await expect(generate({ ...options, temperature: 1, topP: 0 })).rejects.toThrow(UsageError)
  })
})
