import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { entangleReport } from '../../bin/report/entangle.ts'
import { compress, entangleFiles, evaluate, generate, verify } from '../../src/index.ts'
import { readConfig } from '../../src/model/config.ts'
import { FAMILIES } from '../../src/model/families.ts'
import { addLetters } from '../fixtures/letters.ts'

// One tiny model of each family through every command, by the portable form. KL tells whether artifact and dense model
// are the same function: with every weight kept they differ by the rounding to f16 only.
const GOLDEN = join(import.meta.dirname, '../golden/models')
const SIZES = { tokens: 256, sequenceLength: 16, threads: 1, native: false } as const
const CHECK = { sequenceLength: 16, threads: 1, provider: 'cpu' } as const
const MODELS = ['falcon-new', 'falcon-heads', 'stablelm-parallel', ...FAMILIES.map(({ modelType }) => modelType)]

const scratch = mkdtempSync(join(tmpdir(), 'spexpand-families-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** A copy of a golden model that has a tokenizer, and a text for it. */
function modelOf(name: string): { model: string; text: { paths: string[] } } {
  const model = join(scratch, name)
  cpSync(join(GOLDEN, name), model, { recursive: true })
  return { model, text: { paths: [addLetters(model, { characters: 600 })] } }
}

describe('every family', () => {
  it('has a golden model', () => {
    expect(readdirSync(GOLDEN)).toEqual(expect.arrayContaining(MODELS))
  })

  it.each(MODELS)(
    '%s is the same function as an artifact that keeps every weight',
    async (name) => {
      const { model, text } = modelOf(name)
      const out = `${model}-whole`
      const whole = { kind: 'unstructured', sparsity: 0 } as const
      const { blocks } = await compress({ ...SIZES, model, text, out, experts: 2, pattern: whole })
      const { gated, layers } = readConfig(model)
      const matrices = gated ? ['gate_proj', 'up_proj', 'down_proj'] : ['up_proj', 'down_proj']
      expect(blocks.flatMap((block) => block.matrices.map(({ matrix }) => matrix))).toEqual(
        Array<string[]>(layers).fill(matrices).flat(),
      )
      const same = await evaluate({ ...CHECK, model: out, dense: model, text, windows: 4 })
      expect(same.kl).toBeLessThan(1e-5)
      const checked = await verify({ ...CHECK, model: out, dense: model, text, windows: 2, rounds: 1 })
      expect(checked.passed).toBe(true)
      expect(checked.integrity!.matrices).toBe(layers * matrices.length)
      const made = { prompt: 'abc', maxNewTokens: 4, threads: 1 } as const
      expect((await generate({ ...made, model: out })).ids).toEqual((await generate({ ...made, model })).ids)
    },
    120_000,
  )

  it.each(['gpt2', 'gemma2', 'olmo2'])(
    '%s runs when pruned, with a router for down, and from int8',
    async (name) => {
      const { model, text } = modelOf(name)
      const out = `${model}-pruned`
      await compress({ ...SIZES, model, text, out, experts: 2, router: 'split', trueSequential: true, values: 'int8' })
      const { kl } = await evaluate({ ...CHECK, model: out, dense: model, text, windows: 4 })
      expect(kl).toBeGreaterThan(1e-3)
      expect(kl).toBeLessThan(1)
    },
    120_000,
  )

  it('gpt2, which has no gate, gets an entanglement report of its two matrices', async () => {
    const { model, text } = modelOf('gpt2')
    const { native: _, ...sizes } = SIZES
    const result = await entangleFiles({ ...sizes, model, text, pairs: 32, out: `${model}-report` })
    expect(result.report.matrices.map(({ matrix }) => matrix)).toEqual(['up_proj', 'down_proj', 'up_proj', 'down_proj'])
    expect(result.report.matrices.every(({ wd, md }) => [...wd, ...md].every(Number.isFinite))).toBe(true)
    expect(entangleReport(result)).toMatch(/layer +up: median .* down: median/)
  }, 120_000)
})
