import { appendFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { verifyReport } from '../../../bin/report/verify.ts'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { Model } from '../../../src/formats/onnx/types.ts'
import { openHire } from '../../../src/pipeline/predict/hire-option.ts'
import { predictHireFiles } from '../../../src/pipeline/predict/hire-files.ts'
import { evaluationText } from '../../../src/pipeline/text.ts'
import { verify } from '../../../src/pipeline/verify/verify.ts'
import { readGraph } from '../../../src/verify/artifact.ts'
import type { HireParity } from '../../../src/verify/hire-definition.ts'
import { checkHireDefinition } from '../../../src/verify/hire-definition.ts'
import { hireParts } from '../../../src/verify/hire-parts.ts'
import { hireRules } from '../../../src/verify/hire-rules.ts'
import { randomArtifact } from '../../fixtures/randomArtifact.ts'

const root = mkdtempSync(join(tmpdir(), 'spexpand-verify-hire-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const small = { tokens: 512, choosingTokens: 128, windows: 2, sequenceLength: 32, threads: 1 }
const check = { windows: 2, sequenceLength: 32, threads: 1, rounds: 1 }
const out = join(root, 'lr')
beforeAll(async () => {
  await predictHireFiles({ ...small, kind: 'lr', rank: 32, recall: 0.8, group: 8, always: 0.9, out })
}, 240_000)

/** The definition check on cpu, with the graph or the rules changed. */
async function checked(
  change: { hire?: (hire: Model) => Model; where?: (layer: number) => number } = {},
): Promise<HireParity> {
  const { graph, hire: facts } = openHire(out)
  const hire = change.hire ? change.hire(graph) : graph
  const plain = readGraph(out)
  const rules = hireRules(out, facts)
  const [result] = await checkHireDefinition({
    plain,
    hire,
    parts: hireParts(plain, hire, out),
    ruleOf: (part) =>
      rules(part.where === 'softmax' || !change.where ? part : { ...part, where: change.where(part.where) }),
    folder: out,
    threads: 1,
    providers: ['cpu'],
    windows: await evaluationText(out, { windows: 2, sequenceLength: 32 }),
  })
  return result!
}

describe('checkHireDefinition()', { timeout: 240_000 }, () => {
  it('finds that the graph selects as decoded predictors do, and computes what is selected exactly', async () => {
    const { rows, relativeDifference, agreement } = await checked()
    expect(rows).toBe(9 * 19)
    // float32 sums in another order; low-rank predictors are not rounded.
    expect(relativeDifference).toBeLessThan(1e-4)
    expect(agreement).toBeGreaterThan(0.999)
  })

  it('sees predictors of another layer, and rows of down of another layer', async () => {
    expect((await checked({ where: (layer) => (layer + 1) % 8 })).agreement).toBeLessThan(0.9)
    expect((await checked({ hire: swapped })).relativeDifference).toBeGreaterThan(0.1)
  })
})

describe('verify() of a dense model with HiRE', { timeout: 240_000 }, () => {
  it('checks files, definition, quality and speed, and holds them against the gates', async () => {
    const result = await verify({ ...check, model: out, maxKl: 1e-9, minSpeedup: 1e-6 })
    expect(result.integrity).toMatchObject({ matrices: 0, experts: 0 })
    expect(result.run).toBeUndefined()
    const { parity, quality, speed, parts } = result.hire!
    expect(parts).toBe(9)
    for (const { relativeDifference, agreement } of parity) {
      expect(relativeDifference).toBeLessThan(1e-3)
      expect(agreement).toBeGreaterThan(0.9)
    }
    expect(quality.kl).toBeGreaterThan(0)
    for (const sides of [speed.ff!, speed.softmax!, speed.model]) expect(sides.stock!.medianMs).toBeGreaterThan(0)
    const missed = result.gates.filter(({ passed }) => !passed).map(({ gate }) => gate)
    expect(missed).toEqual(['KL from dense'])
    const text = verifyReport(result)
    expect(text).toContain('HiRE, 9 parts')
    expect(text).toContain('no experts to decode')
    expect(text).not.toMatch(/NaN|undefined/)
  })

  it('checks only the files where that is wanted, and names a damaged one', async () => {
    const { integrity, hire } = await verify({ ...check, model: out, integrity: true })
    expect(integrity!.externalTensors).toBeGreaterThan(50)
    expect(hire).toBeUndefined()
    const damaged = join(root, 'damaged')
    cpSync(out, damaged, { recursive: true })
    appendFileSync(join(damaged, 'hire.onnx'), 'x')
    await expect(verify({ ...check, model: damaged })).rejects.toThrow('hire.onnx')
  })

  it('is refused with --griffin', async () => {
    const refused = verify({ ...check, model: out, griffin: 'auto' })
    await expect(refused).rejects.toMatchObject({ kind: 'usage', message: expect.stringContaining('--griffin') })
  })
})

describe('verify() of an artifact of experts with HiRE', { timeout: 240_000 }, () => {
  it('also checks its softmax when asked for', async () => {
    const { folder } = await randomArtifact({ model: demoModelFolder(), experts: 2, sparsity: 0.3 })
    try {
      await predictHireFiles({ ...small, kind: 'q', model: folder, softmaxK: 8, recall: 0.9 })
      const { run, hire, passed } = await verify({ ...check, model: folder, hire: true })
      expect(run).toBeDefined()
      expect(hire).toMatchObject({ parts: 1 })
      expect(hire!.speed.ff).toBeUndefined()
      expect(passed).toBe(true)
    } finally {
      rmSync(join(folder, '..'), { recursive: true })
    }
  })
})

/** The same graph with rows of down of blocks 1 and 2 exchanged. */
function swapped(hire: Model): Model {
  const [a, b] = [1, 2].map((layer) =>
    hire.graph.initializer.find(({ name }) => name === `model.layers.${layer}.mlp.hire.down`)!,
  )
  const initializer = hire.graph.initializer.map((one) =>
    one === a ? { ...one, external: b!.external! } : one === b ? { ...one, external: a!.external! } : one,
  )
  return { ...hire, graph: { ...hire.graph, initializer } }
}
