import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { openModel } from '../../../src/model/open.ts'
import { openTokenizer } from '../../../src/model/tokenizer.ts'
import { generate, generateAll } from '../../../src/pipeline/generate.ts'
import type { GenerateOptions } from '../../../src/pipeline/generate.ts'
import type { GriffinDecoder } from '../../../src/pipeline/predict/griffin-decoder.ts'
import { openGriffin } from '../../../src/pipeline/predict/griffin-option.ts'
import { openGriffinSource } from '../../../src/pipeline/predict/griffin-source.ts'
import { collectStatistics, maskContinuations, rankerOf, setOf } from '../../../src/pipeline/predict/griffin-sets.ts'
import { denseDecoder } from '../../../src/pipeline/open-decoder.ts'
import { denseNorms } from '../../../src/pipeline/predict/norms.ts'
import { predict } from '../../../src/pipeline/predict/predict.ts'
import { openWalk } from '../../../src/pipeline/predict/walk.ts'
import { nativeStatus } from '../../../src/runtime/native.ts'
import { createDecoder } from '../../../src/verify/decoder.ts'
import { maxDifference } from '../../fixtures/decoder.ts'

const model = demoModelFolder()
const TEXT = 'And it came to pass, when the king heard these words, that he rent his clothes and went'
const options: GenerateOptions = { model, prompt: TEXT, maxNewTokens: 10, threads: 1 }
let folder: string
let ids: number[]
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spexpand-griffin-'))
  ids = [...openTokenizer(model).encodePrompt(TEXT)]
})
afterAll(() => rmSync(folder, { recursive: true }))

const at = async (
  density: number,
  more: { readonly promptChunk?: number; readonly provider?: 'spexpand' } = {},
): Promise<{ decoder: GriffinDecoder; close: () => void }> => {
  const source = await openGriffinSource(model, 'cpu')
  const { decoder } = await openGriffin({ density }, source, { threads: 1, provider: 'cpu', ...more })
  return { decoder, close: () => source.close() }
}

const native = nativeStatus()
const hasNative = native.found && native.operatorsPath !== undefined
if (!hasNative) console.log('SKIPPED NeuronSubsetFFN in the decode graph: the native operators are not built')

describe('GriffinDecoder', { timeout: 60_000 }, () => {
  it('reproduces the dense decoder at density 1, bit by bit', async () => {
    const dense = await createDecoder({ ...denseDecoder(model), threads: 1 })
    const { decoder, close } = await at(1)
    expect(await decoder.step(ids)).toEqual(await dense.step(ids))
    for (const id of [5, 700, 31]) expect(await decoder.step([id])).toEqual(await dense.step([id]))
    expect(decoder.length).toBe(dense.length)
    await dense.release()
    await decoder.release()
    close()
  })

  it('selects by the statistic of its prompt and decodes as a masked dense model does (naive twin)', async () => {
    const { decoder, close } = await at(0.5)
    const prompt = ids.slice(0, 8)
    const rest = ids.slice(8, 14)
    await decoder.step(prompt)
    const opened = openModel(model)
    const walk = await openWalk(opened, 1)
    const all = [...prompt, ...rest]
    const windows = { ids: Int32Array.from(all), nWindows: 1, sequenceLength: all.length }
    const { statistics, onFf } = collectStatistics(opened, 1, all.length, prompt.length)
    await walk.run({ windows, onFf })
    const choice = {
      densities: Array<number>(8).fill(0.5),
      rank: rankerOf(denseNorms(opened), 'statistic'),
      method: 'top-k' as const,
    }
    decoder.sets.forEach((set, layer) =>
      expect([...set]).toEqual([...setOf(layer, 0, statistics.prompt[layer]![0]!, { ...choice, seed: 0 })]),
    )
    const hidden = await walk.run({
      windows,
      onFf: maskContinuations(statistics, all.length, prompt.length, { ...choice, seed: 0 }),
    })
    let logits: Float32Array = new Float32Array(0)
    for (const id of rest) logits = await decoder.step([id])
    expect(maxDifference(logits, lastLogits(opened, hidden))).toBeLessThan(2e-3)
    await walk.release()
    await decoder.release()
    opened.close()
    close()
  })

  it('begins anew after reset(), with the sets of the new prompt', async () => {
    const { decoder, close } = await at(0.25)
    await decoder.step(ids.slice(0, 6))
    const first = decoder.sets
    decoder.reset()
    expect([decoder.length, decoder.sets]).toEqual([0, []])
    await decoder.step(ids.slice(6))
    expect(decoder.sets).not.toEqual(first)
    decoder.reset()
    await decoder.step(ids.slice(0, 6))
    expect(decoder.sets).toEqual(first)
    expect((await decoder.all(ids)).length).toBe(ids.length * decoder.vocab)
    await decoder.release()
    close()
  })
})

describe('GriffinDecoder, other ways', { timeout: 60_000 }, () => {
  it('selects the same neurons however the prompt is cut', async () => {
    const whole = await at(0.3)
    const cut = await at(0.3, { promptChunk: 3 })
    const first = await whole.decoder.step(ids)
    // float32 sums of pieces in another order.
    expect(maxDifference(await cut.decoder.step(ids), first)).toBeLessThan(2e-3)
    expect(cut.decoder.sets).toEqual(whole.decoder.sets)
    for (const { decoder, close } of [whole, cut]) {
      await decoder.release()
      close()
    }
  })

  it.skipIf(!hasNative)('decodes by NeuronSubsetFFN as on gathered weights', async () => {
    const gathered = await at(0.5)
    const native = await at(0.5, { provider: 'spexpand' })
    expect([gathered.decoder.form.name, native.decoder.form.name]).toEqual(['gathered', 'native'])
    await gathered.decoder.step(ids)
    await native.decoder.step(ids)
    expect(native.decoder.sets).toEqual(gathered.decoder.sets)
    for (const id of [5, 700, 31])
      // float32 sums in another order, through 8 blocks.
      expect(maxDifference(await native.decoder.step([id]), await gathered.decoder.step([id]))).toBeLessThan(2e-3)
    for (const { decoder, close } of [gathered, native]) {
      await decoder.release()
      close()
    }
  })

  it.skipIf(!hasNative)('reproduces the dense decoder at density 1 by NeuronSubsetFFN', async () => {
    const dense = await createDecoder({ ...denseDecoder(model), threads: 1 })
    const { decoder, close } = await at(1, { provider: 'spexpand' })
    expect(await decoder.step(ids)).toEqual(await dense.step(ids))
    expect(maxDifference(await decoder.step([5]), await dense.step([5]))).toBeLessThan(2e-3)
    await dense.release()
    await decoder.release()
    close()
  })
})

describe('generate() with griffin', { timeout: 60_000 }, () => {
  it('gives the dense text at density 1, and says what it kept', async () => {
    const dense = await generate(options)
    const whole = await generate({ ...options, griffin: { density: 1 } })
    expect(whole.ids).toEqual(dense.ids)
    expect(whole.griffin).toMatchObject({ neurons: Array(8).fill(768), scores: 'statistic' })
    expect(dense.griffin).toBeUndefined()
    const half = await generate({ ...options, griffin: { density: 0.5 } })
    expect(half.griffin!.neurons).toEqual(Array(8).fill(384))
    // The first new token is the dense model's.
    expect(half.ids[0]).toBe(dense.ids[0])
  })

  it('takes densities and ranking from the file of predict, of this model only', async () => {
    const small = { windows: 2, sequenceLength: 16, threads: 1 }
    const { file } = await predict({ ...small, out: folder, density: 0.25, scores: 'statistic-down' })
    const result = await generate({ ...options, maxNewTokens: 2, griffin: { file: file! } })
    expect(result.griffin).toMatchObject({ neurons: Array(8).fill(192), scores: 'statistic-down' })
    const changed = join(folder, 'changed.json')
    const json = JSON.parse(readFileSync(file!, 'utf8')) as { source: { sha256: string }; formatVersion: number }
    writeFileSync(changed, JSON.stringify({ ...json, source: { ...json.source, sha256: 'other' } }))
    await expect(generate({ ...options, griffin: { file: changed } })).rejects.toThrow('run predict again')
    writeFileSync(changed, JSON.stringify({ ...json, formatVersion: 2 }))
    await expect(generate({ ...options, griffin: { file: changed } })).rejects.toThrow('update spexpand')
    writeFileSync(changed, '{')
    await expect(generate({ ...options, griffin: { file: changed } })).rejects.toThrow('Cannot read')
  })

  it('refuses densities and providers that cannot be meant', async () => {
    await expect(generate({ ...options, griffin: { density: 1.5 } })).rejects.toThrow('at most 1')
    await expect(generate({ ...options, provider: 'cuda', griffin: { density: 0.5 } })).rejects.toThrow('wanted cpu')
    await expect(generate({ ...options, promptChunk: 0, griffin: 'auto' })).rejects.toThrow('--prompt-chunk')
  })

  it('gives several prompts sets of their own, as one by one', async () => {
    const prompts = [TEXT, 'The whale, said the captain, is a fish']
    const griffin = { density: 0.25 }
    const both = await generateAll({ ...options, griffin, prompts })
    const alone = await generate({ ...options, griffin, prompt: prompts[1]! })
    expect(both.map(({ ids: made }) => made)[1]).toEqual(alone.ids)
    expect(both[0]!.ids).toEqual((await generate({ ...options, griffin })).ids)
  })
})

/** Logits of the last row of hidden: final norm and tied head, by plain loops in float64. */
function lastLogits(opened: ReturnType<typeof openModel>, hidden: Float32Array): Float32Array {
  const { hidden: d, vocab, normEps } = opened.config
  const x = hidden.subarray(hidden.length - d)
  const scale = opened.weights.readF32(opened.tensorName('finalNorm'))
  const head = opened.weights.readF32(opened.tensorName('head'))
  const root = Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / d + normEps)
  return Float32Array.from({ length: vocab }, (_, i) =>
    x.reduce((sum, v, j) => sum + (v / root) * scale[j]! * head[i * d + j]!, 0),
  )
}
