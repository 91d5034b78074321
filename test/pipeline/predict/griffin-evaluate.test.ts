import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { evaluate } from '../../../src/pipeline/evaluate.ts'
import { copyTask } from '../../../src/pipeline/predict/griffin-copy.ts'
import { predict } from '../../../src/pipeline/predict/predict.ts'
import { verify } from '../../../src/pipeline/verify/verify.ts'

const model = demoModelFolder()
const small = { model, windows: 3, sequenceLength: 24, threads: 1 }

describe('evaluate() with griffin', { timeout: 120_000 }, () => {
  it('gives the figures of predict(), and those with all neurons at density 1', async () => {
    const { griffin } = await predict(small)
    const half = await evaluate({ ...small, griffin: { density: 0.5 } })
    const row = griffin.quality.find(({ scores, density }) => scores === 'statistic' && density === 0.5)!
    expect(half.perplexity).toBe(row.quality.perplexity)
    expect(half.kl).toBe(row.quality.kl)
    expect(half.griffin).toMatchObject({ promptTokens: 12, from: 'density', all: griffin.dense })
    expect(half.griffin!.copy.skipping).toEqual({
      accuracy: griffin.copy.densities.find(({ density }) => density === 0.5)!.accuracy,
      nll: griffin.copy.densities.find(({ density }) => density === 0.5)!.nll,
    })
    const whole = await evaluate({ ...small, griffin: { density: 1 } })
    expect(whole.perplexity).toBe(griffin.dense.perplexity)
    expect(whole.kl).toBe(0)
  })

  it('refuses prompts as long as the windows, and a dense model to compare a dense model with', async () => {
    const griffin = 'auto'
    await expect(evaluate({ ...small, griffin, promptTokens: 23 })).rejects.toThrow('--prompt-tokens')
    await expect(evaluate({ ...small, griffin, dense: model })).rejects.toThrow('a dense model itself')
  })
})

describe('copyTask()', () => {
  it('repeats every passage, in an order of its own that is the same every time', () => {
    const windows = { ids: Int32Array.from({ length: 60 }, (_, i) => i), nWindows: 2, sequenceLength: 30 }
    const task = copyTask(windows)
    const { ids } = task.windows
    expect(task).toMatchObject({ passageTokens: 15, promptTokens: 19 })
    expect(ids.slice(0, 15)).toEqual(ids.slice(15, 30))
    expect(Array.from(ids.slice(30, 45)).sort((a, b) => a - b)).toEqual(Array.from({ length: 15 }, (_, i) => 30 + i))
    expect(ids.slice(30, 45)).not.toEqual(windows.ids.slice(30, 45))
    expect(copyTask(windows)).toEqual(task)
    expect(() => copyTask({ ...windows, sequenceLength: 10, nWindows: 6 })).toThrow('windows of 10 tokens')
  })
})

describe('verify() with griffin on a dense model', { timeout: 120_000 }, () => {
  it('times it against all neurons, and holds it against the gates', async () => {
    const result = await verify({ ...small, griffin: { density: 0.25 }, rounds: 2, maxKl: 1e-6, minSpeedup: 1e-6 })
    const { speed, quality } = result.griffin!
    expect(result.integrity).toBeUndefined()
    expect(quality.griffin!.densities).toEqual(Array(8).fill(0.25))
    for (const sides of [speed!.ff, speed!.model]) expect(sides.gathered.medianMs).toBeGreaterThan(0)
    expect(result.gates.map(({ passed }) => passed)).toEqual([false, true])
    expect(result.passed).toBe(false)
    await expect(verify({ ...small, griffin: 'auto', integrity: true })).rejects.toThrow('are for artifacts')
  })
})
