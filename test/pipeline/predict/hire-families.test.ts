import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { hireReport } from '../../../bin/report/predict-hire.ts'
import { openDecoder } from '../../../src/pipeline/open-decoder.ts'
import { predictHireFiles } from '../../../src/pipeline/predict/hire-files.ts'
import { openHire } from '../../../src/pipeline/predict/hire-option.ts'
import type { HireResult } from '../../../src/pipeline/predict/hire-types.ts'
import { verify } from '../../../src/pipeline/verify/verify.ts'
import { createDecoder } from '../../../src/verify/decoder.ts'
import { addLetters } from '../../fixtures/letters.ts'
import { maxDifference } from '../../fixtures/decoder.ts'

// One tiny model of every form of FF layer that NeuronSubsetFFN does not know.
const GOLDEN = join(import.meta.dirname, '../../golden/models')
const FORMS = ['opt', 'gpt2', 'gpt_neox', 'phi', 'falcon', 'gemma'] as const
const SMALL = { tokens: 256, choosingTokens: 64, windows: 2, sequenceLength: 32, threads: 1 } as const

const scratch = mkdtempSync(join(tmpdir(), 'spexpand-hire-families-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

function modelOf(name: string): { model: string; text: { paths: string[] }; calibration: { paths: string[] } } {
  const model = join(scratch, name)
  cpSync(join(GOLDEN, name), model, { recursive: true })
  const text = { paths: [addLetters(model, { characters: 900 })] }
  return { model, text, calibration: text }
}

describe('HiRE on every form of FF layer', { timeout: 120_000 }, () => {
  it.each(FORMS)('%s: verify() finds hire.onnx as it is defined, its neurons sorted into groups', async (name) => {
    const { model, text, calibration } = modelOf(name)
    const out = `${model}-hire`
    const wanted = { ...SMALL, model, text, calibration, out, group: 2, always: 0.9, recall: 0.7 }
    const { hire, bytes } = await predictHireFiles({ ...wanted, kind: 'lr', rank: 4 })
    expect(hire.softmax).toBeDefined()
    expect(bytes.ff[1]).toBeGreaterThan(0)
    for (const { recall } of hire.layers) expect(recall).toBeGreaterThanOrEqual(0.7)
    const checked = await verify({ model: out, text, windows: 2, sequenceLength: 32, threads: 1, rounds: 1 })
    expect(checked.passed).toBe(true)
    expect(checked.hire!.parity[0]!.relativeDifference).toBeLessThan(1e-4)
    // Sorted neurons are the same function.
    const [dense, sorted] = await Promise.all(
      [model, out].map((folder) => createDecoder({ ...openDecoder(folder), threads: 1 })),
    )
    expect(maxDifference(await sorted!.all([5, 9, 20]), await dense!.all([5, 9, 20]))).toBeLessThan(2e-4)
    await Promise.all([dense!.release(), sorted!.release()])
  })

  it.each(FORMS)('%s: all neurons and rows are the dense model, in prompts and in single steps', async (name) => {
    const { model, text, calibration } = modelOf(`${name}`)
    const out = `${model}-all`
    const everything = { recall: 1, softmaxK: 1e9, share: 1, tables: name === 'opt' }
    const result = await predictHireFiles({ ...SMALL, ...everything, model, text, calibration, kind: 'q', out })
    expect(result.quality).toMatchObject({ kl: 0, topOneAgreement: 1 })
    if (name === 'opt') assertTables(result, out)
    const [dense, ours] = await Promise.all(
      [openDecoder(out), openHire(out)].map((source) => createDecoder({ ...source, threads: 1 })),
    )
    for (const id of [5, 17, 9])
      expect(maxDifference(await ours!.step([id]), await dense!.step([id]))).toBeLessThan(2e-4)
    await Promise.all([dense!.release(), ours!.release()])
  })
})

/** Quality and speed by density, and recall over shards, in the result, in the text and on the page. */
function assertTables(result: HireResult, out: string): void {
  const densities = [0.05, 0.1, 0.25, 0.5, 0.75]
  const { tables, speed, shards } = result
  expect(tables!.map(({ density }) => density)).toEqual(densities)
  expect(speed!.rows.map(({ density }) => density)).toEqual(densities)
  for (const { ff, model } of speed!.rows)
    for (const sides of [ff, model]) expect(sides.stock!.medianMs).toBeGreaterThan(0)
  expect(speed!.chosen.softmax!.without.medianMs).toBeGreaterThan(0)
  expect(shards!.find(({ shards: D }) => D === 1)).toMatchObject({ contiguous: 1, dealt: 1, bytes: 0 })
  const text = hireReport(result)
  expect(text).toContain('stock ms')
  expect(text).toContain('DA-TOP-k')
  expect(text).not.toMatch(/NaN|undefined/)
  const page = readFileSync(join(out, 'hire.html'), 'utf8')
  for (const id of ['quality', 'speed', 'shards']) expect(page).toContain(`id="${id}"`)
  expect(page).not.toMatch(/NaN|undefined/)
}
