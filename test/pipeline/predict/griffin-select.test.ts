import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { openModel } from '../../../src/model/open.ts'
import { evaluate } from '../../../src/pipeline/evaluate.ts'
import { generate } from '../../../src/pipeline/generate.ts'
import { openGriffin } from '../../../src/pipeline/predict/griffin-option.ts'
import { openGriffinSource } from '../../../src/pipeline/predict/griffin-source.ts'
import { predict } from '../../../src/pipeline/predict/predict.ts'
import type { GriffinReport } from '../../../src/pipeline/predict/types.ts'
import { openWalk } from '../../../src/pipeline/predict/walk.ts'
import { verify } from '../../../src/pipeline/verify/verify.ts'
import { SELECTION_METHODS } from '../../../src/predict/select.ts'

const model = demoModelFolder()
const small = { model, windows: 3, sequenceLength: 24, threads: 1 }
const griffin = { density: 0.25 }

describe('ways to select neurons', { timeout: 120_000 }, () => {
  it('predict() measures every ranking and every method at the density wanted', async () => {
    const { griffin: report } = await predict({ ...small, density: 0.25 })
    const at = report.quality.filter(({ density }) => density === 0.25).map(({ scores, select }) => [scores, select])
    expect(at).toEqual([
      ['statistic', 'top-k'],
      ['statistic-down', 'top-k'],
      ['count', 'top-k'],
      ['magnitude', 'top-k'],
      ['statistic', 'sample'],
      ['statistic', 'mixed'],
    ])
    const mixed = await evaluate({ ...small, griffin, select: 'mixed' })
    expect(mixed.griffin).toMatchObject({ select: 'mixed', seed: 0 })
    expect(mixed.kl).toBe(row(report, 'statistic', 'mixed').quality.kl)
    const counted = await evaluate({ ...small, griffin, scores: 'count' })
    expect(counted.perplexity).toBe(row(report, 'count', 'top-k').quality.perplexity)
  })

  it('predict() draws with its method and seed, and says both', async () => {
    const one = await predict({ ...small, select: 'sample', seed: 7 })
    expect(one.griffin).toMatchObject({ select: 'sample', seed: 7 })
    const { quality } = one.griffin.quality.find(({ density }) => density === 0.5)!
    const drawn = (seed: number) => evaluate({ ...small, griffin: { density: 0.5 }, select: 'sample', seed })
    expect((await drawn(7)).kl).toBe(quality.kl)
    expect((await drawn(8)).kl).not.toBe(quality.kl)
  })

  it('generate() counts tokens in the graph of the prompt as countScores() does, however it is cut', async () => {
    const ids = Array.from({ length: 13 }, (_, i) => 40 + 7 * i)
    const source = await openGriffinSource(model, 'cpu')
    const sets = async (more: { promptChunk?: number }): Promise<readonly Int32Array[]> => {
      const common = { threads: 1, provider: 'cpu', overrides: { scores: 'count' }, ...more } as const
      const { decoder, summary } = await openGriffin(griffin, source, common)
      await decoder.step(ids)
      expect(summary()).toMatchObject({ scores: 'count', select: 'top-k' })
      await decoder.release()
      return decoder.sets
    }
    const whole = await sets({})
    expect(await sets({ promptChunk: 5 })).toEqual(whole)
    const opened = openModel(model)
    const walk = await openWalk(opened, 1)
    await walk.run({
      windows: { ids: Int32Array.from(ids), nWindows: 1, sequenceLength: ids.length },
      onFf: ({ layer, z }) => expect([...whole[layer]!]).toEqual(naiveCountSet(z, 768, 192)),
    })
    await walk.release()
    opened.close()
    source.close()
  })

  it('generate() gives the dense text at density 1 by any method, and the same draws for the same seed', async () => {
    const text = { model, prompt: 'And it came to pass, when the king heard', maxNewTokens: 8, threads: 1 }
    const dense = await generate(text)
    for (const select of SELECTION_METHODS) {
      const all = await generate({ ...text, griffin: { density: 1 }, select })
      expect(all.ids).toEqual(dense.ids)
    }
    const drawn = async (seed: number): Promise<readonly number[]> =>
      (await generate({ ...text, griffin: { density: 0.1 }, select: 'sample', seed })).ids
    const first = await drawn(3)
    expect(await drawn(3)).toEqual(first)
    const others = await Promise.all([4, 5, 6].map(drawn))
    expect(others.some((ids) => `${ids}` !== `${first}`)).toBe(true)
  })

  it('is refused without GRIFFIN', async () => {
    const wanted = '--scores and --select choose neurons for --griffin'
    await expect(generate({ model, prompt: 'a', select: 'sample' })).rejects.toThrow(wanted)
    await expect(evaluate({ ...small, scores: 'count' })).rejects.toThrow(wanted)
    await expect(verify({ ...small, select: 'mixed' })).rejects.toThrow(wanted)
  })
})

function row({ quality }: GriffinReport, scores: string, select: string): GriffinReport['quality'][number] {
  return quality.find((one) => one.density === 0.25 && one.scores === scores && one.select === select)!
}

/** The k neurons that most tokens of z (tokens, ff) have among the quarter of them with the largest |z|. */
function naiveCountSet(z: Float32Array, ff: number, k: number): number[] {
  const counts = Array<number>(ff).fill(0)
  for (let row = 0; row < z.length; row += ff) {
    const order = counts.map((_, j) => j).sort((a, b) => Math.abs(z[row + b]!) - Math.abs(z[row + a]!) || a - b)
    for (const j of order.slice(0, ff / 4)) counts[j]!++
  }
  const best = counts.map((_, j) => j).sort((a, b) => counts[b]! - counts[a]! || a - b)
  return best.slice(0, k).sort((a, b) => a - b)
}
