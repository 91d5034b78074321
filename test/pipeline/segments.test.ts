import fc from 'fast-check'
import { expect, it } from 'vitest'
import { groupsOf, segmentsOf } from '../../src/pipeline/segments.ts'

it('groupsOf() puts every row in the group of its label, ascending', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 4 })), (labels) => {
      const groups = groupsOf(labels, 5)
      groups.forEach((group, e) => expect([...group]).toEqual(labels.flatMap((l, i) => (l === e ? [i] : []))))
    }),
  )
})

it('segmentsOf() cuts the rows without loss and copies them', () => {
  const rows = Uint32Array.from({ length: 20_000 }, (_, i) => 2 * i)
  const segments = segmentsOf(rows)
  expect(segments.flatMap((s) => [...s])).toEqual([...rows])
  for (const segment of segments) expect(segment.buffer.byteLength).toBe(segment.byteLength)
})
