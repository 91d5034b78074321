import { describe, expect, it } from 'vitest'
import { bytes, count, digits, duration, percent, times } from '../../bin/format.ts'
import { table } from '../../bin/table.ts'

describe('format', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [131_072, '131,072'],
    [1_234_567.4, '1,234,567'],
  ])('count(%d) groups thousands', (value, text) => {
    expect(count(value)).toBe(text)
  })

  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [999_600, '1.00 MB'],
    [14_600_000, '14.6 MB'],
    [123_456_789_000, '123 GB'],
  ])('bytes(%d) has three digits and never 1000 of a unit', (value, text) => {
    expect(bytes(value)).toBe(text)
  })

  it.each([
    [0, '0 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [59_949, '59.9 s'],
    [59_960, '1 min 00 s'],
    [185_000, '3 min 05 s'],
    [3_599_600, '1 h 00 min'],
    [7_620_000, '2 h 07 min'],
  ])('duration(%d) carries into the next unit', (ms, text) => {
    expect(duration(ms)).toBe(text)
  })

  it.each([
    [0, '0'],
    [0.071_234, '0.07123'],
    [29.4231, '29.42'],
    [999.96, '1,000'],
    [14_905.2, '14,905'],
    [0.000_001_234, '1.234e-6'],
    [-2.5, '-2.500'],
    [Infinity, 'Infinity'],
    [NaN, 'NaN'],
  ])('digits(%d) keeps four', (value, text) => {
    expect(digits(value)).toBe(text)
  })

  it('percent() and times() say - where a ratio has no meaning', () => {
    expect(percent(0.7)).toBe('70.0 %')
    expect(times(58, 10)).toBe('5.80x')
    expect(times(1, 0)).toBe('-')
  })
})

describe('table()', () => {
  it('aligns columns and leaves no trailing blanks', () => {
    const text = table(
      [{ title: 'name', align: 'left' }, { title: 'n' }, { title: 'note', align: 'left' }],
      [
        ['a', '1', ''],
        ['longer', '1,000', 'x'],
      ],
    )
    expect(text).toBe('name        n  note\na           1\nlonger  1,000  x')
  })

  it('has no heading when every title is empty', () => {
    expect(table([{ title: '' }, { title: '' }], [['a', 'b']])).toBe('a  b')
  })

  it('refuses a row of another length', () => {
    expect(() => table([{ title: 'a' }], [['1', '2']])).toThrow(RangeError)
  })
})
