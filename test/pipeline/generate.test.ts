import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
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

const parents: string[] = []
afterAll(() => parents.forEach((parent) => rmSync(parent, { recursive: true, force: true })))

function copyOfDemo(): string {
  const parent = mkdtempSync(join(tmpdir(), 'spexpand-generate-'))
  parents.push(parent)
  const model = join(parent, 'demo')
  cpSync(demoModelFolder(), model, { recursive: true })
  return model
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

  it('ends at a stop string, whose tokens were made, and says what a caller waited for', async () => {
    const whole = await generate({ ...options, maxNewTokens: 24 })
    const stop = whole.text.slice(20, 24)
    const pieces: string[] = []
    const result = await generate({ ...options, maxNewTokens: 24, stop: [stop], onText: (text) => pieces.push(text) })
    expect(result).toMatchObject({ stopped: 'string', text: whole.text.slice(0, whole.text.indexOf(stop)) })
    expect(pieces.join('')).toBe(result.text)
    expect(result.ids).toEqual(whole.ids.slice(0, result.newTokens))
    expect(result.newTokens).toBeLessThan(24)
    expect(result.firstTokenMs).toBeGreaterThan(result.loadMs + result.promptMs)
    await expect(generate({ ...options, stop: [''] })).rejects.toThrow(/empty text/)
  })

  it('ends at the tokens that generation_config.json names', async () => {
    const model = copyOfDemo()
    const { ids } = await generate(options)
    writeFileSync(join(model, 'generation_config.json'), JSON.stringify({ eos_token_id: [ids[5]] }))
    const first = ids.indexOf(ids[5]!)
    expect(await generate({ ...options, model })).toMatchObject({ stopped: 'stop', ids: ids.slice(0, first) })
  })

  it('renders a chat by the template of the model, system message first, without special tokens of its own', async () => {
    const model = copyOfDemo()
    const template =
      "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}" +
      "{% if messages[0]['content'] == 'no' %}{{ raise_exception('Not that') }}{% endif %}" +
      '{% if add_generation_prompt %}<answer>{% endif %}'
    writeFileSync(join(model, 'chat_template.jinja'), template)
    const tokenizer = openTokenizer(model)
    const chat = await generate({ ...options, model, prompt: 'Who?', chat: true, system: 'Be brief.' })
    const written = '<system>Be brief.\n<user>Who?\n<answer>'
    const plain = await generate({ ...options, prompt: written })
    expect(chat).toMatchObject({ prompt: 'Who?', promptTokens: tokenizer.encode(written).length, ids: plain.ids })
    await expect(generate({ ...options, model, prompt: 'no', chat: true })).rejects.toThrow(/refuses .*Not that/)
    await expect(generate({ ...options, chat: true })).rejects.toThrow(/has no chat template/)
    await expect(generate({ ...options, system: 'Be brief.' })).rejects.toThrow(/wanted --chat too/)
  })

  it('refuses a text longer than the positions of the model, and impossible samplings', async () => {
    await expect(generate({ ...options, maxNewTokens: 1e6 })).rejects.toThrow(/positions: lower --max-new-tokens/)
    await expect(generate({ ...options, temperature: 1, topP: 0 })).rejects.toThrow(UsageError)
  })
})
