import { assert, double, property } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { choice, decimal, memory, nOfM, repeated, whole } from '../../bin/flags.ts'
import { UsageError } from '../../src/errors.ts'

describe('decimal()', () => {
  const sparsity = decimal('--sparsity', { min: 0, below: 1, example: '0.7' })

  it('says what came, what was wanted and an example in one line', () => {
    expect(() => sparsity('1.5')).toThrow(new UsageError('--sparsity: got 1.5, wanted a number in [0, 1), e.g. 0.7'))
  })

  it.each(['12abc', '', ' ', '0x1', 'Infinity', 'NaN', '0,7', '.', '1e', '0.5 ', '--5', '1_0'])(
    'refuses %j',
    (text) => {
      expect(() => sparsity(text)).toThrow(UsageError)
    },
  )

  it.each([
    ['0', 0],
    ['0.7', 0.7],
    ['.5', 0.5],
    ['5e-1', 0.5],
    ['0.999999', 0.999999],
  ])('reads %s', (text, value) => {
    expect(sparsity(text)).toBe(value)
  })

  it('excludes `above`', () => {
    const damping = decimal('--damping', { above: 0, example: '0.01' })
    expect(damping('1e-9')).toBe(1e-9)
    expect(() => damping('0')).toThrow(new UsageError('--damping: got 0, wanted a number above 0, e.g. 0.01'))
  })

  it('excludes `below` and includes `min` and `max`', () => {
    expect(() => sparsity('1')).toThrow(UsageError)
    const closed = decimal('--x', { min: 0, max: 1, example: '1' })
    expect([closed('0'), closed('1')]).toEqual([0, 1])
    expect(() => closed('-0.1')).toThrow('in [0, 1]')
  })

  it('reads every number as JavaScript prints it', () => {
    assert(
      property(double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(decimal('--x', { example: '1' })(String(value))).toBe(Number(String(value)))
      }),
    )
  })
})

describe('whole()', () => {
  const experts = whole('--experts', { min: 1, max: 256, example: '16' })

  it.each(['0', '257', '1.5', '1e2', '+3', '-1', '12abc', '', '９'])('refuses %j', (text) => {
    expect(() => experts(text)).toThrow(/^--experts: got .*, wanted a whole number in \[1, 256\], e\.g\. 16$/)
  })

  it('refuses what a double cannot hold exactly', () => {
    const tokens = whole('--tokens', { min: 1, example: '131072' })
    expect(tokens('9007199254740991')).toBe(Number.MAX_SAFE_INTEGER)
    expect(() => tokens('9007199254740993')).toThrow('wanted a whole number, at least 1, e.g. 131072')
  })
})

describe('memory()', () => {
  it.each([
    ['6G', 6 * 2 ** 30],
    ['512M', 512 * 2 ** 20],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['2tb', 2 * 2 ** 40],
    ['4096k', 4 * 2 ** 20],
  ])('reads %s in binary units', (text, bytes) => {
    expect(memory('--memory')(text)).toBe(bytes)
  })

  it.each(['6', '6X', 'G', '', '-1G', '1K', '99999999T', '6 G'])('refuses %j', (text) => {
    expect(() => memory('--memory')(text)).toThrow(/^--memory: got .* e\.g\. 6G$/)
  })
})

describe('nOfM()', () => {
  it('reads n zeros in every m inputs', () => {
    expect(nOfM('--pattern')('2:4')).toEqual({ kind: 'n:m', n: 2, m: 4 })
  })

  it.each(['4:4', '0:4', '5:4', '2', '2:4:8', 'a:b', '2:', '-1:4', ''])('refuses %j', (text) => {
    expect(() => nOfM('--pattern')(text)).toThrow(/^--pattern: got .*, wanted n:m/)
  })
})

describe('choice()', () => {
  it('returns the word, or names all of them', () => {
    const router = choice('--router', ['shared', 'split'])
    expect(router('split')).toBe('split')
    expect(() => router('both')).toThrow(new UsageError('--router: got both, wanted one of shared, split'))
    expect(() => router('')).toThrow('--router: got "", wanted')
  })
})

describe('repeated()', () => {
  it('keeps the order of the flags', () => {
    expect(repeated('b', repeated('a', undefined))).toEqual(['a', 'b'])
  })
})
