import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { GROUP, LEAF, panelWidth, schedule } from '../../src/prune/schedule.ts'

it('schedule() prunes every column once, in order, after all earlier ones were applied to it once', () => {
  const panels = fc.constantFrom(128, 256)
  fc.assert(
    fc.property(fc.integer({ min: 1, max: GROUP }), panels, (width, panel) => {
      // Columns before `applied[j]` have been applied to column j; pruned ones are those before `pruned`.
      const applied = new Int32Array(width)
      let pruned = 0
      for (const step of schedule(width, panel)) {
        if (step.kind === 'prune') {
          expect(step.begin).toBe(pruned)
          expect(step.end - step.begin).toBeLessThanOrEqual(LEAF)
          for (let j = step.begin; j < step.end; j++) expect(applied[j]).toBe(step.begin)
          // The threshold of a column block looks at all of its columns at once.
          if (step.begin % 128 === 0)
            for (let j = step.begin; j < Math.min(step.begin + 128, width); j++) expect(applied[j]).toBe(step.begin)
          pruned = step.end
          continue
        }
        expect(step.middle).toBe(pruned)
        const isInside = Math.floor(step.begin / panel) === Math.floor((step.end - 1) / panel)
        expect(step.kind).toBe(isInside ? 'update' : 'apply')
        for (let j = step.middle; j < step.end; j++) {
          expect(applied[j]).toBe(step.begin)
          applied[j] = step.middle
        }
      }
      expect(pruned).toBe(width)
    }),
    { numRuns: 60 },
  )
})

it('panelWidth() divides a group and is a multiple of the column block', () => {
  for (const inputs of [1, 128, 2048, 2049, 28672]) {
    expect(GROUP % panelWidth(inputs)).toBe(0)
    expect(panelWidth(inputs) % 128).toBe(0)
  }
})
