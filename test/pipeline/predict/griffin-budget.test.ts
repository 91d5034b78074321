import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { evaluate } from '../../../src/pipeline/evaluate.ts'
import { generate } from '../../../src/pipeline/generate.ts'
import type { PredictResult } from '../../../src/pipeline/predict/predict.ts'
import { predict } from '../../../src/pipeline/predict/predict.ts'
import { verify } from '../../../src/pipeline/verify/verify.ts'
import { keptNeurons } from '../../../src/predict/griffin.ts'

const model = demoModelFolder()
const small = { model, sequenceLength: 32, threads: 1 }
const folder = mkdtempSync(join(tmpdir(), 'spexpand-budget-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const BUDGETS = [0.02, 0.1, 0.4]
const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

describe('predict() with a KL budget', { timeout: 240_000 }, () => {
  it('keeps it on windows that nothing was chosen on, and keeps fewer neurons the larger it is', async () => {
    const results: PredictResult[] = []
    for (const klBudget of BUDGETS)
      results.push(await predict({ ...small, windows: 6, density: 0.25, klBudget, out: join(folder, `${klBudget}`) }))
    for (const [i, { griffin }] of results.entries()) {
      expect(griffin.schedule).toMatchObject({ klBudget: BUDGETS[i], windows: 3, heldOut: 3 })
      expect(griffin.schedule!.quality.kl).toBeLessThanOrEqual(BUDGETS[i]!)
    }
    const kept = results.map(({ griffin }) => sum(griffin.densities))
    expect(kept[0]).toBeGreaterThan(kept[1]!)
    expect(kept[1]).toBeGreaterThan(kept[2]!)
    // A tight budget must not take every layer alike: that is what a schedule is for.
    expect(new Set(results[1]!.griffin.densities).size).toBeGreaterThan(1)
  })

  it('writes a schedule that generate(), eval and verify honour layer by layer', async () => {
    const file = join(folder, '0.1', 'griffin.json')
    const wanted = { ...small, windows: 3, griffin: { file } }
    const { griffin } = await evaluate(wanted)
    const neurons = griffin!.densities.map((density) => keptNeurons(768, density))
    expect(new Set(neurons).size).toBeGreaterThan(1)
    const made = await generate({
      model,
      prompt: 'And it came to pass',
      maxNewTokens: 2,
      threads: 1,
      griffin: { file },
    })
    expect(made.griffin).toMatchObject({ neurons, from: 'file' })
    const checked = await verify({ ...wanted, rounds: 1 })
    expect(checked.griffin!.quality.griffin!.densities).toEqual(griffin!.densities)
  })
})
