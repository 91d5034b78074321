import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { openModel } from '../../src/model/open.ts'
import { planMemory } from '../../src/pipeline/memory.ts'
import type { MemoryPlan } from '../../src/pipeline/memory.ts'
import { resolveOptions } from '../../src/pipeline/options.ts'
import type { CompressOptions } from '../../src/pipeline/types.ts'

const model = openModel(demoModelFolder())
const OPTIONS = { threads: 4, native: false } as const

function planned(options: Partial<CompressOptions>): MemoryPlan {
  return planMemory(model, resolveOptions({ ...OPTIONS, ...options }))
}

/** The smallest limit that a refusal names, bytes. */
function smallest(options: Partial<CompressOptions> = {}): number {
  try {
    planned({ ...options, maxMemoryBytes: 1 })
  } catch (error) {
    expect(error).toMatchObject({ kind: 'resources' })
    return Number(/--max-memory (\d+)M is the smallest that works/.exec((error as Error).message)![1]) * 2 ** 20
  }
  throw new Error('1 byte was enough')
}

describe('planMemory()', () => {
  it('uses every thread, and memory for rows, where nobody sets a limit', () => {
    expect(planned({})).toMatchObject({ workers: 4, spooled: false })
  })

  it('names the smallest limit, which then works, and nothing below it does', () => {
    const least = smallest()
    expect(planned({ maxMemoryBytes: least })).toMatchObject({ workers: 1, expertsAtOnce: 1, spooled: true })
    expect(() => planned({ maxMemoryBytes: least - 2 ** 20 })).toThrow(/is the smallest that works/)
  })

  it('stays below every limit, and gives up workers last', () => {
    const least = smallest()
    const most = planned({}).peakBytes
    let before: MemoryPlan | undefined
    for (let step = 0; step <= 16; step++) {
      const limit = Math.ceil(least + ((most - least) * step) / 16)
      const way = planned({ maxMemoryBytes: limit })
      expect(way.peakBytes).toBeLessThanOrEqual(limit)
      expect(way.workers).toBeGreaterThanOrEqual(before?.workers ?? 1)
      before = way
    }
    expect(before).toMatchObject({ workers: 4, spooled: false })
  })

  it('needs more for more experts at once, more tokens in memory, and the rows of a split router', () => {
    expect(planned({ experts: 64 }).peakBytes).toBeGreaterThan(planned({ experts: 4 }).peakBytes)
    expect(planned({ tokens: 400_000 }).peakBytes).toBeGreaterThan(planned({ tokens: 100_000 }).peakBytes + 5e8)
    expect(planned({ router: 'split' }).peakBytes).toBeGreaterThan(planned({}).peakBytes + 3e8)
    expect(smallest({ tokens: 400_000 }) - smallest({ tokens: 100_000 })).toBeLessThan(1e8)
  })
})
