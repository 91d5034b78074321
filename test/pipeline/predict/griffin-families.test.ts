import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { compress, evaluate, generate, verify } from '../../../src/index.ts'
import { openDecoder } from '../../../src/pipeline/open-decoder.ts'
import { openGriffin } from '../../../src/pipeline/predict/griffin-option.ts'
import { collectStatistics, maskContinuations, rankerOf } from '../../../src/pipeline/predict/griffin-sets.ts'
import { openGriffinSource } from '../../../src/pipeline/predict/griffin-source.ts'
import { openGraphScorer } from '../../../src/pipeline/predict/score.ts'
import { createDecoder } from '../../../src/verify/decoder.ts'
import { addLetters } from '../../fixtures/letters.ts'

// One tiny model of every form of FF layer: without a gate, with biases, stored (in, out), fused, behind a norm, parallel.
const GOLDEN = join(import.meta.dirname, '../../golden/models')
const FORMS = ['opt', 'gpt2', 'gpt_neox', 'phi', 'falcon', 'falcon-new', 'phi3', 'gemma2', 'olmo2', 'granite'] as const
const T = 16
const PROMPT = 9

const scratch = mkdtempSync(join(tmpdir(), 'spexpand-griffin-families-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** A copy of a golden model with a tokenizer and a text. */
function modelOf(name: string): { model: string; text: { paths: string[] } } {
  const model = join(scratch, name)
  cpSync(join(GOLDEN, name), model, { recursive: true })
  return { model, text: { paths: [addLetters(model, { characters: 600 })] } }
}

/** −log p of the tokens behind the prompt and the first one, as the decoder and as the walk compute it. */
async function nllOf(model: string, density: number): Promise<{ decoded: number; walked: number }> {
  const source = await openGriffinSource(model, 'cpu')
  const ids = Array.from({ length: T }, (_, i) => 3 + ((5 * i) % 27))
  const { decoder } = await openGriffin({ density }, source, { threads: 1, provider: 'cpu' })
  await decoder.step(ids.slice(0, PROMPT))
  let nll = 0
  for (let t = PROMPT; t < T - 1; t++) nll -= logProbability(await decoder.step([ids[t]!]), ids[t + 1]!)
  await decoder.release()
  const walk = await source.walk(1)
  const windows = { ids: Int32Array.from(ids), nWindows: 1, sequenceLength: T }
  const { statistics, onFf } = collectStatistics(source, 1, T, PROMPT)
  const plain = await walk.run({ windows, onFf })
  const densities = Array<number>(source.config.layers).fill(density)
  const sets = { densities, rank: rankerOf(source, 'statistic'), method: 'top-k' as const, seed: 0 }
  const hidden = await walk.run({ windows, onFf: maskContinuations(statistics, T, PROMPT, sets) })
  const scorer = await openGraphScorer(source.decoder, windows, PROMPT, 1)
  const { quality } = await scorer.scores(hidden, plain)
  await scorer.release()
  await walk.release()
  source.close()
  return { decoded: nll / (T - 1 - PROMPT), walked: quality.nll }
}

describe('GRIFFIN on every form of FF layer', { timeout: 120_000 }, () => {
  it.each(FORMS)('%s decodes on gathered weights as the masked model does, and as the dense one at 1', async (name) => {
    const { model } = modelOf(name)
    const { decoded, walked } = await nllOf(model, 0.4)
    // float32 sums in another order.
    expect(Math.abs(decoded - walked)).toBeLessThan(1e-4)
    const whole = await nllOf(model, 1)
    expect(Math.abs(whole.walked - walked)).toBeGreaterThan(1e-5)
    const source = await openGriffinSource(model, 'cpu')
    const { decoder } = await openGriffin({ density: 1 }, source, { threads: 1, provider: 'cpu' })
    const dense = await createDecoder({ ...openDecoder(model), threads: 1 })
    for (const ids of [[5, 9, 20], [7], [11]]) expect(await decoder.step(ids)).toEqual(await dense.step(ids))
    await dense.release()
    await decoder.release()
    source.close()
  })

  it.each(['gpt2', 'gpt_neox', 'falcon', 'gemma2', 'olmo2', 'granite'])(
    '%s as an artifact with a router for down: the decoder computes what the walk measures',
    async (name) => {
      const { model, text } = modelOf(`${name}`)
      const out = `${model}-sparse`
      const small = { tokens: 256, sequenceLength: T, threads: 1, native: false } as const
      await compress({ ...small, model, text, out, experts: 2, router: name === 'gpt2' ? 'split' : 'shared' })
      const { decoded, walked } = await nllOf(out, 0.4)
      expect(Math.abs(decoded - walked)).toBeLessThan(1e-4)
    },
  )

  it('opt goes through eval, verify and generate; the native operator says that it has no such layer', async () => {
    const { model, text } = modelOf('opt')
    const small = { model, text, windows: 3, sequenceLength: T, threads: 1, griffin: { density: 0.5 } }
    const { kl } = await evaluate(small)
    expect(kl).toBeGreaterThan(0)
    const { griffin } = await verify({ ...small, rounds: 1 })
    expect(griffin!.quality.kl).toBe(kl)
    expect(griffin!.speed!.ff.native).toBeUndefined()
    const made = { model, prompt: 'abc', maxNewTokens: 4, threads: 1, griffin: { density: 0.5 } }
    expect((await generate(made)).griffin).toMatchObject({ form: 'gathered' })
    await expect(generate({ ...made, provider: 'spexpand' })).rejects.toThrow('use --provider cpu')
  })
})

function logProbability(logits: Float32Array, id: number): number {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0)
  return logits[id]! - most - Math.log(sum)
}
