import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { MemoryLimitError } from '../../src/errors.ts'
import { openModel } from '../../src/model/open.ts'
import { evaluate } from '../../src/pipeline/evaluate.ts'
import type { EvaluationMemory, EvaluationShape } from '../../src/pipeline/evaluation-memory.ts'
import { planEvaluation } from '../../src/pipeline/evaluation-memory.ts'

const model = openModel(demoModelFolder())
const SHAPE = { config: model.config, weights: model.weights, sequenceLength: 256, windows: 256, denseWorkers: 2 }

function planned(limit?: number, changes: Partial<EvaluationShape> = {}): EvaluationMemory {
  return planEvaluation({ ...SHAPE, ...changes }, limit)
}

/** The smallest limit that a refusal names, bytes. */
function smallest(): number {
  let said = ''
  try {
    planned(1)
  } catch (error) {
    expect(error).toBeInstanceOf(MemoryLimitError)
    said = (error as Error).message
  }
  return Number(/--max-memory (\d+)M is the smallest that works$/.exec(said)![1]) * 2 ** 20
}

describe('planEvaluation()', () => {
  it('takes the runs that gain speed where nobody sets a limit', () => {
    expect(planned()).toMatchObject({ activationBytes: 50e6, logitsBytes: 64e6 })
  })

  it('names the smallest limit, which then works, and stays below every larger one', () => {
    const least = smallest()
    expect(() => planned(least - 2 ** 20)).toThrow(MemoryLimitError)
    const most = planned().peakBytes
    let before = 0
    for (let step = 0; step <= 8; step++) {
      const limit = Math.ceil(least + ((most - least) * step) / 8)
      const { peakBytes, activationBytes } = planned(limit)
      expect(peakBytes).toBeLessThanOrEqual(limit)
      expect(activationBytes).toBeGreaterThanOrEqual(before)
      before = activationBytes
    }
    expect(before).toBe(50e6)
  })

  it('counts the weights, the dense model beside them, and bodies that decode', () => {
    const { peakBytes } = planned()
    const weights = [...model.weights.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
    expect(peakBytes).toBeGreaterThan(weights + planned(undefined, { denseWorkers: 0 }).peakBytes)
    const fold = { stockBody: 'fold', experts: 16 } as const
    expect(planned(undefined, { decoded: fold }).peakBytes).toBeGreaterThan(
      peakBytes + 16 * 25 * 3 * 8 * model.config.hidden * model.config.ff,
    )
  })
})

describe('evaluate() under maxMemoryBytes', () => {
  const quick = { model: demoModelFolder(), windows: 24 }

  it('gives the same quality from smaller runs', async () => {
    const free = await evaluate(quick)
    const least = 2 ** 20 * Number(/(\d+)M is the smallest/.exec(await reasonOf(1))![1])
    const kept = await evaluate({ ...quick, maxMemoryBytes: least })
    expect(kept.perplexity).toBeCloseTo(free.perplexity, 4)
  })

  it('refuses what does not fit, and the evaluations that it does not count', async () => {
    expect(await reasonOf(2 ** 20)).toMatch(/^Cannot evaluate within --max-memory 1M: /)
    await expect(evaluate({ ...quick, maxMemoryBytes: 1e9, griffin: { density: 0.5 } })).rejects.toThrow(
      /leave it out with --griffin/,
    )
  })

  async function reasonOf(maxMemoryBytes: number): Promise<string> {
    const error: unknown = await evaluate({ ...quick, maxMemoryBytes }).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(MemoryLimitError)
    return (error as Error).message
  }
})
