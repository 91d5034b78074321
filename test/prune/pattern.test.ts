import { expect, it } from 'vitest'
import { ShapeError, UsageError } from '../../src/errors.ts'
import type { Pattern } from '../../src/prune/pattern.ts'
import { checkPattern, patternSparsity } from '../../src/prune/pattern.ts'

it.each<[Pattern, number]>([
  [{ kind: 'unstructured', sparsity: 0 }, 7],
  [{ kind: 'unstructured', sparsity: 0.999 }, 1],
  [{ kind: 'n:m', n: 2, m: 4 }, 576],
  [{ kind: 'n:m', n: 1, m: 128 }, 256],
])('checkPattern() accepts %o with %i inputs', (pattern, inputs) => {
  expect(() => checkPattern(pattern, inputs)).not.toThrow()
})

it.each<[Pattern, number, typeof UsageError, RegExp]>([
  [{ kind: 'unstructured', sparsity: 1 }, 8, UsageError, /sparsity 1: expected a fraction in \[0, 1\)/],
  [{ kind: 'unstructured', sparsity: -0.1 }, 8, UsageError, /-0\.1/],
  [{ kind: 'unstructured', sparsity: NaN }, 8, UsageError, /NaN/],
  [{ kind: 'n:m', n: 4, m: 4 }, 8, UsageError, /4:4/],
  [{ kind: 'n:m', n: 0, m: 4 }, 8, UsageError, /0:4/],
  [{ kind: 'n:m', n: 1.5, m: 4 }, 8, UsageError, /1\.5:4/],
  [{ kind: 'n:m', n: 1, m: 3 }, 9, UsageError, /power of two up to 128/],
  [{ kind: 'n:m', n: 2, m: 4 }, 10, ShapeError, /10 inputs are not a multiple of 4/],
])('checkPattern() refuses %o with %i inputs', (pattern, inputs, kind, message) => {
  expect(() => checkPattern(pattern, inputs)).toThrow(kind)
  expect(() => checkPattern(pattern, inputs)).toThrow(message)
})

it('patternSparsity() is the share of zeros', () => {
  expect(patternSparsity({ kind: 'unstructured', sparsity: 0.7 })).toBe(0.7)
  expect(patternSparsity({ kind: 'n:m', n: 3, m: 4 })).toBe(0.75)
})
