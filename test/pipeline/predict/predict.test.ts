import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { Windows } from '../../../calibration/windows.ts'
import { denseDecoderModel } from '../../../export/onnx.ts'
import type { OpenedModel } from '../../../src/model/open.ts'
import { openModel } from '../../../src/model/open.ts'
import { cheapestSteps } from '../../../src/pipeline/predict/griffin-schedule.ts'
import { collectStatistics, maskContinuations, rankerOf, setOf } from '../../../src/pipeline/predict/griffin-sets.ts'
import { denseNorms } from '../../../src/pipeline/predict/norms.ts'
import { predict } from '../../../src/pipeline/predict/predict.ts'
import type { Walk } from '../../../src/pipeline/predict/walk.ts'
import { openWalk } from '../../../src/pipeline/predict/walk.ts'
import { evaluationText } from '../../../src/pipeline/text.ts'
import { graphHiddenSource } from '../../../src/verify/hidden.ts'
import { maxDifference } from '../../fixtures/decoder.ts'

const T = 24
const PROMPT = 12
const small = { windows: 3, sequenceLength: T, promptTokens: PROMPT, threads: 1 }
let folder: string
let model: OpenedModel
let windows: Windows
let walk: Walk
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spexpand-predict-'))
  model = openModel(demoModelFolder())
  windows = await evaluationText(model.folder, { windows: 3, sequenceLength: T })
  walk = await openWalk(model, 1)
}, 60_000)
afterAll(async () => {
  await walk.release()
  model.close()
  rmSync(folder, { recursive: true })
})

/** The sets of GRIFFIN's statistic at one density. */
function sets(density: number): Parameters<typeof maskContinuations>[3] {
  return {
    densities: Array.from({ length: 8 }, () => density),
    rank: rankerOf(denseNorms(model), 'statistic'),
    method: 'top-k',
    seed: 0,
  }
}

describe('openWalk()', { timeout: 60_000 }, () => {
  it('computes the hidden states of the exported decoder graph', async () => {
    const source = await graphHiddenSource(denseDecoderModel(model, ''), { folder: model.dataFolder, threads: 1 })
    const wanted = await source.hidden(windows, 0, 3)
    await source.release()
    // float32 sums in another order, through 8 blocks.
    expect(maxDifference(await walk.run({ windows }), wanted)).toBeLessThan(1e-3)
  })

  it('goes on from the hidden states of any layer', async () => {
    const inputs: Float32Array[] = []
    const whole = await walk.run({ windows, onHidden: (_, hidden) => inputs.push(hidden.slice()) })
    expect(inputs).toHaveLength(8)
    expect(await walk.run({ windows, from: { layer: 5, hidden: inputs[5]! } })).toEqual(whole)
  })

  it('stops at an abort', async () => {
    await expect(walk.run({ windows, signal: AbortSignal.abort() })).rejects.toThrow('Interrupted')
  })
})

describe('maskContinuations()', { timeout: 60_000 }, () => {
  it('reproduces the dense model at density 1, and the prompt at any', async () => {
    const { statistics, onFf } = collectStatistics(model, 3, T, PROMPT)
    const dense = await walk.run({ windows, onFf })
    expect(await walk.run({ windows, onFf: maskContinuations(statistics, T, PROMPT, sets(1)) })).toEqual(dense)
    const half = await walk.run({ windows, onFf: maskContinuations(statistics, T, PROMPT, sets(0.5)) })
    const d = model.config.hidden
    const promptOf = (hidden: Float32Array): Float32Array => hidden.slice(T * d, (T + PROMPT) * d)
    expect(maxDifference(promptOf(half), promptOf(dense))).toBeLessThan(1e-4)
    expect(maxDifference(half, dense)).toBeGreaterThan(0.01)
  })

  it('leaves exactly the selected neurons of each window behind its prompt', async () => {
    const { statistics, onFf } = collectStatistics(model, 3, T, PROMPT)
    await walk.run({ windows, onFf })
    const z = new Float32Array(2 * T * 768).fill(1)
    maskContinuations(statistics, T, PROMPT, sets(0.25))({ layer: 2, firstWindow: 1, windows: 2, x: z, z })
    const kept = setOf(2, 2, statistics.prompt[2]![2]!, sets(0.25))
    const last = z.subarray((2 * T - 1) * 768)
    expect([...last.keys()].filter((j) => last[j] === 1)).toEqual([...kept])
    expect(z.subarray(T * 768, (T + PROMPT) * 768).every((v) => v === 1)).toBe(true)
  })
})

describe('cheapestSteps()', () => {
  const layerKl = [
    [0.1, 0.2, 0.9],
    [0.01, 0.5, 0.6],
  ]

  it('takes the cheapest step each time, until the aim or the budget is reached', () => {
    expect(cheapestSteps(layerKl, 0.25, 10)).toEqual([1, 0, 0, 1, 1, 0])
    expect(cheapestSteps(layerKl, 0.75, 10)).toEqual([1, 0])
    expect(cheapestSteps(layerKl, 0.25, 0.15)).toEqual([1, 0])
    expect(cheapestSteps(layerKl, 0.25, 0.001)).toEqual([])
  })

  it('takes the same steps first whatever the budget, and none beyond it', () => {
    const curve = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 3, maxLength: 3 })
    const rising = curve.map((list) => list.map((v, i) => (v + 40 * i) / 100))
    const layers = fc.array(rising, { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(layers, fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 300 }), (layerSteps, a, b) => {
        const [less, more] = [Math.min(a, b) / 100, Math.max(a, b) / 100]
        const [few, many] = [cheapestSteps(layerSteps, 0.25, less), cheapestSteps(layerSteps, 0.25, more)]
        expect(many.slice(0, few.length)).toEqual(few)
        const sum = layerSteps.reduce((total, row, layer) => {
          const level = few.filter((step) => step === layer).length
          return total + (level === 0 ? 0 : row[level - 1]!)
        }, 0)
        expect(sum).toBeLessThanOrEqual(less + 1e-9)
      }),
    )
  })
})

describe('predict()', { timeout: 120_000 }, () => {
  it('writes densities, order, flocking and measured quality, the same bytes every time', async () => {
    const out = join(folder, 'griffin')
    const wanted = { ...small, windows: 4, out, klBudget: 0.5 }
    const { griffin, file, page } = await predict(wanted)
    const text = readFileSync(file!, 'utf8')
    expect(JSON.parse(text)).toEqual(griffin)
    await predict(wanted)
    expect(readFileSync(file!, 'utf8')).toBe(text)
    expect(griffin.order.map((order) => [...order].sort((a, b) => a - b))).toEqual(
      Array.from({ length: 8 }, () => Array.from({ length: 768 }, (_, j) => j)),
    )
    expect(griffin.dense).toMatchObject({ targets: 44, kl: 0, topOneAgreement: 1 })
    const statistic = griffin.quality.filter(({ scores, select }) => scores === 'statistic' && select === 'top-k')
    expect(statistic.map(({ density }) => density)).toEqual([0.75, 0.5, 0.25, 0.1, 0.05])
    expect(statistic[2]!.quality.kl).toBeGreaterThan(statistic[0]!.quality.kl!)
    expect(griffin.copy).toMatchObject({ passages: 4, passageTokens: 12, cueTokens: 4 })
    expect(griffin.copy.densities.map(({ density }) => density)).toEqual([0.75, 0.5, 0.25, 0.1, 0.05])
    const html = readFileSync(page!, 'utf8')
    expect(html).toContain('Flocking: token by neuron')
    expect(html).not.toMatch(/NaN|undefined|(src|href)="http/)
    expect(griffin.schedule).toMatchObject({ windows: 2, heldOut: 2 })
    expect(griffin.schedule!.quality.kl).toBeLessThanOrEqual(0.5)
    expect(griffin.schedule!.quality.targets).toBe(22)
    expect(griffin.densities.every((density) => density >= 0.25 && density <= 1)).toBe(true)
    // Prompts and their continuations share neurons beyond chance: that is what GRIFFIN lives on.
    for (const one of griffin.flocking) expect(one.promptToContinuation).toBeGreaterThan(one.chance)
  })

  it('refuses files as folders, and options that cannot be meant', async () => {
    const file = join(folder, 'file')
    writeFileSync(file, '')
    await expect(predict({ out: file })).rejects.toThrow('it is a file')
    await expect(predict({ ...small, density: 0 })).rejects.toThrow('--density')
    await expect(predict({ ...small, promptTokens: T - 1 })).rejects.toThrow('--prompt-tokens')
    await expect(predict({ ...small, klBudget: -1 })).rejects.toThrow('--kl-budget')
    await expect(predict({ ...small, klBudget: 1 })).rejects.toThrow('at least 4 with --kl-budget')
  })
})
