import { describe, expect, it } from 'vitest'
import { TimeLimitError, withinTime } from '../../src/model/time-limit.ts'

function forever(): never {
  for (;;);
}

describe('withinTime()', () => {
  it('gives what the body returns or throws, calls inside calls too', () => {
    expect(withinTime(1000, () => withinTime(1000, () => 1) + withinTime(1000, () => 2))).toBe(3)
    expect(() =>
      withinTime(1000, () => {
        throw new RangeError('mine')
      }),
    ).toThrow(RangeError)
  })

  it('ends patterns that backtrack and loops that do not end', () => {
    expect(() => withinTime(50, () => /^(a+)+$/.test(`${'a'.repeat(60)}b`))).toThrow(TimeLimitError)
    expect(() => withinTime(50, forever)).toThrow('it takes longer than 50 ms')
    expect(withinTime(1000, () => 'still there')).toBe('still there')
  })
})
