import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { amendArtifact } from '../../../export/amend.ts'
import { createDecoder } from '../../../src/verify/decoder.ts'
import { openDecoder } from '../../../src/pipeline/open-decoder.ts'
import { openHire } from '../../../src/pipeline/predict/hire-option.ts'
import { fileSha256 } from '../../../src/formats/sha256.ts'
import { predictHireFiles } from '../../../src/pipeline/predict/hire-files.ts'

const root = mkdtempSync(join(tmpdir(), 'spexpand-hire-'))
afterAll(() => rmSync(root, { recursive: true }))

const small = { tokens: 512, choosingTokens: 128, windows: 2, sequenceLength: 32, threads: 1 }

/** Writes HiRE of the demo model and gives the hashes of its files. */
async function files(out: string): Promise<string[]> {
  const result = await predictHireFiles({ ...small, kind: 'q', recall: 0.9, out })
  expect(result.hire.layers).toHaveLength(8)
  for (const { recall, k, kPrime } of result.hire.layers) {
    expect(recall).toBeGreaterThanOrEqual(0.9)
    expect(kPrime).toBeGreaterThanOrEqual(k)
  }
  expect(result.hire.softmax!.recall).toBeGreaterThanOrEqual(0.9)
  expect(result.quality!.kl).toBeLessThan(0.2)
  const names = ['hire.onnx', 'hire.safetensors', 'model.safetensors', 'spexpand.json']
  return Promise.all(names.map((name) => fileSha256(join(out, name))))
}

describe('predictHireFiles()', { timeout: 240_000 }, () => {
  it('writes predictors that reach the recall wanted, and equal options give equal bytes', async () => {
    expect(await files(join(root, 'a'))).toEqual(await files(join(root, 'b')))
  })

  it('reproduces the dense model with every neuron and every row, in prompts and in single steps', async () => {
    const out = join(root, 'all')
    const everything = { recall: 1, softmaxK: 1e9, share: 1 }
    const { quality } = await predictHireFiles({ ...small, kind: 'lr', rank: 4, ...everything, out })
    expect(quality).toMatchObject({ kl: 0, topOneAgreement: 1 })
    const hire = openHire(out)
    const [dense, ours] = await Promise.all(
      [openDecoder(out), hire].map((source) => createDecoder({ ...source, threads: 1 })),
    )
    const ids = [5, 17, 99, 3]
    expect(await ours!.all(ids)).toEqual(await dense!.all(ids))
    for (const decoder of [dense!, ours!]) decoder.reset()
    for (const id of ids) expect(largestDifference(await ours!.step([id]), await dense!.step([id]))).toBeLessThan(2e-4)
    await Promise.all([dense!.release(), ours!.release()])
  })

  it('keeps the function of the model when neurons are sorted into groups', async () => {
    const out = join(root, 'groups')
    const { hire } = await predictHireFiles({
      ...small,
      kind: 'q',
      bits: 8,
      group: 8,
      always: 0.9,
      parts: 'ff',
      recall: 0.8,
      out,
    })
    for (const { kPrime, group } of hire.layers) expect([group, kPrime % group]).toEqual([8, 0])
    const [dense, sorted] = await Promise.all(
      [demoModelFolder(), out].map((folder) => createDecoder({ ...openDecoder(folder), threads: 1 })),
    )
    const ids = [5, 17, 99, 3]
    expect(largestDifference(await sorted!.all(ids), await dense!.all(ids))).toBeLessThan(2e-4)
    // Steps of one token gather rows, prompts are masked: the same neurons.
    const ours = await createDecoder({ ...openHire(out), threads: 1 })
    const together = (await ours.all(ids)).slice(-ours.vocab)
    ours.reset()
    let apart = new Float32Array(0)
    for (const id of ids) apart = (await ours.step([id])).slice()
    expect(largestDifference(apart, together)).toBeLessThan(2e-4)
    await Promise.all([dense!, sorted!, ours].map((decoder) => decoder.release()))
  })

  it('adds the softmax to an artifact in place, and follows its weights when they move', async () => {
    const out = join(root, 'a')
    const { hire } = await predictHireFiles({ ...small, kind: 'q', model: out, recall: 0.9, softmaxK: 8 })
    expect([hire.layers.length, hire.softmax!.k]).toEqual([0, 8])
    const logits = async (): Promise<Float32Array> => {
      const decoder = await createDecoder({ ...openHire(out), threads: 1 })
      const all = (await decoder.all([5, 17, 99])).slice()
      await decoder.release()
      return all
    }
    const before = await logits()
    await amendArtifact(out, { sections: {}, weights: { 'test.key': 'x'.repeat(300) } })
    expect(await logits()).toEqual(before)
  })

  it('refuses what cannot be: a full folder, FF layers of an artifact, HiRE where there is none', async () => {
    const out = join(root, 'a')
    await expect(predictHireFiles({ ...small, kind: 'q', out })).rejects.toThrow('not an empty folder')
    await expect(predictHireFiles({ ...small, kind: 'q', model: out, parts: 'ff' })).rejects.toThrow('--parts softmax')
    expect(() => openHire(demoModelFolder())).toThrow('run predict --hire')
  })
})

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length)
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0)
}
