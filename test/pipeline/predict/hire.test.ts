import { describe, expect, it } from 'vitest'
import { predictHire } from '../../../src/pipeline/predict/hire.ts'

const small = { tokens: 512, windows: 2, sequenceLength: 32, threads: 1 }

describe('predictHire()', { timeout: 240_000 }, () => {
  it('finds more neurons with more rank, more bits and more of them taken; k-prime of all is dense', async () => {
    const rows = await predictHire({
      ...small,
      predictors: [
        { kind: 'lr', rank: 8 },
        { kind: 'lr', rank: 64 },
        { kind: 'q', bits: 4, groupSize: 32 },
        { kind: 'q', bits: 8, groupSize: 0 },
      ],
      shares: [0.25],
      over: [1, 2, 4],
      quality: true,
    })
    const [rank8, rank64, int4, int8] = rows
    expect(rank64!.recall[1]).toBeGreaterThan(rank8!.recall[1]! + 0.05)
    expect(int8!.recall[0]).toBeGreaterThan(int4!.recall[0]!)
    expect(int8!.recall[0]).toBeGreaterThan(0.95)
    for (const { recall, layerRecall, quality } of rows) {
      expect(recall[1]).toBeGreaterThan(recall[0]!)
      expect(recall[2]).toBe(1)
      expect(layerRecall).toHaveLength(8)
      // Over-selection 4 of a quarter is every neuron: the dense model, bit by bit.
      expect(quality).toMatchObject({ kl: 0, topOneAgreement: 1 })
    }
  })

  it('refuses a rank wider than the inputs', async () => {
    await expect(predictHire({ ...small, predictors: [{ kind: 'lr', rank: 257 }] })).rejects.toThrow('wanted 1 to 256')
  })
})
