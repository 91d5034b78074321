import fc from 'fast-check'
import { expect, it } from 'vitest'
import { packNibbles, unpackNibbles } from '../../src/mixture/nibbles.ts'

it("packNibbles() puts the first number low, in two's complement, and leaves a spare half 0", () => {
  expect([...packNibbles(Int8Array.of(1, -1, -8, 7, 5))]).toEqual([0xf1, 0x78, 0x05])
})

it('unpackNibbles() gives any range back', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -8, max: 7 })), fc.nat(40), fc.nat(40), (numbers, a, b) => {
      const [from, to] = [Math.min(a, b, numbers.length), Math.min(Math.max(a, b), numbers.length)]
      const values = Int8Array.from(numbers)
      expect(unpackNibbles(packNibbles(values), from, to)).toEqual(values.slice(from, to))
    }),
  )
})
