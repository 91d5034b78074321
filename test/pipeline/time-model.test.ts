import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { openModel } from '../../src/model/open.ts'
import { resolveOptions } from '../../src/pipeline/options.ts'
import type { Costs } from '../../src/pipeline/probe.ts'
import { runTime } from '../../src/pipeline/time-model.ts'
import type { CompressOptions } from '../../src/pipeline/types.ts'

const model = openModel(demoModelFolder())
const nothing = { once: 0, perRow: 0 }
const FREE: Costs = {
  text: 0,
  hash: 0,
  open: 0,
  attention: nothing,
  cluster: nothing,
  gram: [nothing, nothing],
  solve: [0, 0],
  propagate: nothing,
}

/** Processor seconds that some costs add, with `workers` workers. */
function added(costs: Partial<Costs>, options: Partial<CompressOptions>, workers = 1): { cpu: number; wall: number } {
  const resolved = resolveOptions({ tokens: 32_768, experts: 4, ...options })
  const memory = { workers, expertsAtOnce: 1, spooled: false, peakBytes: 0 }
  const ff = { ffBytesDense: 0, ffBytesStored: 0, ffBytesPerTokenDense: 0, ffBytesPerToken: 0 }
  const sizes = { artifactBytes: 1e6, ff }
  const time = runTime(model, resolved, memory, { ...FREE, ...costs }, sizes)
  const base = runTime(model, resolved, memory, FREE, sizes)
  return { cpu: time.cpuSeconds - base.cpuSeconds, wall: time.seconds - base.seconds }
}

describe('runTime()', () => {
  it('counts a solve for every expert of every block and one for the baseline', () => {
    expect(added({ solve: [10, 20] }, {}).cpu).toBeCloseTo(8 * 5 * 0.03)
    expect(added({ solve: [10, 20] }, { experts: 1 }).cpu).toBeCloseTo(8 * 0.03)
  })

  it('counts every token once a block, and divides among workers what they share', () => {
    const perToken = { attention: { once: 0, perRow: 0.01 } }
    expect(added(perToken, {}).cpu).toBeCloseTo(8 * 327.68 * 0.001)
    expect(added(perToken, {}, 2)).toMatchObject({ wall: expect.closeTo(8 * 0.32768 * 0.5) })
    expect(added({ cluster: { once: 100, perRow: 0 } }, {}, 2).wall).toBeCloseTo(0.8)
  })

  it('opens sessions and weights once a block in every worker', () => {
    expect(added({ open: 100 }, {}, 3).cpu).toBeCloseTo(2.4)
  })
})
