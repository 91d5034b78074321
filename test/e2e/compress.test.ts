import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { compress, evaluate } from '../../src/index.ts'
import type { CompressOptions } from '../../src/index.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { fileSha256 } from '../../src/formats/sha256.ts'

// The whole path on the embedded demo model, small enough for minutes: fewer tokens and experts than the defaults.
const SMALL = { tokens: 8192, sequenceLength: 128, experts: 4, threads: 2 } as const
const EVAL = { windows: 48, sequenceLength: 128, threads: 2 } as const

const folder = mkdtempSync(join(tmpdir(), 'spexpand-e2e-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

async function hashes(artifact: string): Promise<Record<string, string>> {
  const all: Record<string, string> = {}
  for (const name of readdirSync(artifact)) all[name] = await fileSha256(join(artifact, name))
  return all
}

/** compress() that is aborted as soon as block `last` is on disk. */
async function interrupted(options: CompressOptions, last: number): Promise<unknown> {
  const controller = new AbortController()
  return compress({
    ...options,
    signal: controller.signal,
    onProgress: ({ stage, block }) => {
      if (stage === 'propagate' && block === last) controller.abort()
    },
  }).catch((error: unknown) => error)
}

describe('compress()', () => {
  beforeAll(async () => {
    await compress({ ...SMALL, out: at('mixture') })
  }, 300_000)

  it('leaves an artifact and no trace of its state', () => {
    expect(readdirSync(at('mixture')).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'model.onnx',
      'model.safetensors',
      'spexpand.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
  })

  it('gives the same bytes with one thread', async () => {
    await compress({ ...SMALL, out: at('one-thread'), threads: 1 })
    expect(await hashes(at('one-thread'))).toEqual(await hashes(at('mixture')))
  }, 300_000)

  it('gives the same bytes when rows are spooled to disk', async () => {
    const refusal = await compress({ ...SMALL, out: at('spooled'), maxMemoryBytes: 1 }).catch((error: Error) => error)
    const megabytes = /--max-memory (\d+)M is the smallest that works/.exec((refusal as Error).message)![1]!
    const { memory } = await compress({ ...SMALL, out: at('spooled'), maxMemoryBytes: Number(megabytes) * 2 ** 20 })
    expect(memory).toMatchObject({ workers: 1, expertsAtOnce: 1, spooled: true })
    expect(await hashes(at('spooled'))).toEqual(await hashes(at('mixture')))
  }, 300_000)

  it('continues after an interruption and gives the same bytes', async () => {
    const options = { ...SMALL, out: at('resumed') }
    expect(await interrupted(options, 2)).toMatchObject({ kind: 'interrupted' })
    expect(existsSync(join(options.out, 'spexpand.json'))).toBe(false)
    const result = await compress(options)
    expect(result.resumedBlocks).toBe(3)
    expect(await hashes(options.out)).toEqual(await hashes(at('mixture')))
  }, 300_000)

  it('refuses to continue with other options, and to write over an artifact', async () => {
    const options = { ...SMALL, out: at('changed') }
    await interrupted(options, 0)
    await expect(compress({ ...options, experts: 2 })).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringMatching(/experts was 4, now 2/),
    })
    await expect(compress({ ...SMALL, out: at('mixture') })).rejects.toMatchObject({ kind: 'usage' })
  }, 300_000)

  it('continues only from blocks that are whole', async () => {
    const options = { ...SMALL, out: at('damaged') }
    await interrupted(options, 1)
    const block = join(options.out, '.spexpand', 'block-00001.safetensors')
    writeFileSync(block, readFileSync(block).subarray(0, 1000))
    await expect(compress(options)).rejects.toMatchObject({ kind: 'input', message: expect.stringContaining(block) })
  }, 300_000)

  it('at sparsity 0 gives the dense model', async () => {
    const out = at('dense')
    await compress({ ...SMALL, out, experts: 2, pattern: { kind: 'unstructured', sparsity: 0 } })
    const quality = await evaluate({ ...EVAL, model: out })
    // bf16 weights fit f16 exactly but for tiny ones, which lose bits far below the rest.
    expect(quality.kl).toBeLessThan(1e-6)
    expect(quality.topOneAgreement).toBeGreaterThan(0.999)
  }, 300_000)

  it('at sparsity 0 with whole numbers is the quantised dense model, better by GPTQ than by rounding', async () => {
    const rest = {
      tokens: 4096,
      sequenceLength: 128,
      threads: 2,
      pattern: { kind: 'unstructured', sparsity: 0 },
    } as const
    const quality = async (name: string, options: Partial<CompressOptions>): Promise<number> => {
      const result = await compress({ ...rest, ...options, out: at(name) })
      expect(result.sparsity).toBe(0)
      return (await evaluate({ ...EVAL, model: at(name) })).kl!
    }
    expect(await quality('dense-int8', { method: 'sparsegpt', values: 'int8' })).toBeLessThan(1e-3)
    const gptq = await quality('dense-int4', { method: 'sparsegpt', values: 'int4' })
    const nearest = await quality('nearest-int4', { method: 'magnitude', values: 'int4' })
    expect(gptq).toBeLessThan(nearest)
    expect(nearest).toBeLessThan(0.1)
  }, 300_000)

  it.each([{ values: 'bf16' }, { values: 'int8' }, { values: 'int4', groupSize: 32 }] as const)(
    'stores %j, with the same bytes from one thread and after an interruption',
    async (form) => {
      const options = { ...SMALL, tokens: 2048, experts: 2, ...form }
      await compress({ ...options, out: at(`${form.values}-one-thread`), threads: 1 })
      await interrupted({ ...options, out: at(form.values) }, 1)
      const result = await compress({ ...options, out: at(form.values) })
      expect(result.resumedBlocks).toBeGreaterThan(1)
      expect(await hashes(at(form.values))).toEqual(await hashes(at(`${form.values}-one-thread`)))
      const weights = openWeights(at(form.values))
      const stored = [...weights.tensors.values()].filter(({ name }) => name.includes('.experts.'))
      weights.close()
      // The prediction rounds kept weights, and leaves out the zero before them.
      const bytes = stored.reduce((sum, { byteLength }) => sum + byteLength, 0)
      expect(Math.abs(result.ffBytesStored / bytes - 1)).toBeLessThan(1e-3)
      const quality = await evaluate({ ...EVAL, model: at(form.values) })
      expect(quality.kl).toBeGreaterThan(0.01)
      expect(quality.kl).toBeLessThan(0.5)
    },
    300_000,
  )

  it.each(['split', 'true-sequential'] as const)(
    'runs %s',
    async (form) => {
      const out = at(form)
      await compress({ ...SMALL, out, ...(form === 'split' ? { router: 'split' } : { trueSequential: true }) })
      const quality = await evaluate({ ...EVAL, model: out })
      // Worse than dense, far better than a broken route.
      expect(quality.kl).toBeGreaterThan(0.01)
      expect(quality.kl).toBeLessThan(0.5)
    },
    300_000,
  )
})

describe('evaluate()', () => {
  it('orders dense < mixture < one expert < magnitude and Wanda', async () => {
    const methods = ['sparsegpt', 'wanda', 'magnitude'] as const
    const { experts: _, ...rest } = SMALL
    for (const method of methods) await compress({ ...rest, out: at(method), method })
    const [mixture, sparsegpt, wanda, magnitude] = await Promise.all(
      ['mixture', ...methods].map((name) => evaluate({ ...EVAL, model: at(name) })),
    )
    expect(mixture!.densePerplexity).toBeLessThan(mixture!.perplexity)
    expect(mixture!.perplexity).toBeLessThan(sparsegpt!.perplexity)
    expect(sparsegpt!.perplexity).toBeLessThan(Math.min(wanda!.perplexity, magnitude!.perplexity))
  }, 600_000)
})
