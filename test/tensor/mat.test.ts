import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { ShapeError } from '../../src/errors.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { assertShape, matOf, transpose, zeros } from '../../src/tensor/mat.ts'

describe('mat', () => {
  it('matOf() and assertShape() refuse data that does not fit, naming both shapes', () => {
    expect(() => matOf(2, 3, new Float32Array(5))).toThrow(ShapeError)
    expect(() => assertShape(zeros(2, 3), 3, 2, 'W')).toThrow(
      'Wrong shape for W: got (2, 3) with 6 numbers, expected (3, 2)',
    )
    expect(() => assertShape(zeros(2, 3), 2, 3, 'W')).not.toThrow()
  })

  it('transpose() moves every element (i, j) to (j, i), also across tile borders', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 70 }), (rows, cols) => {
        const A = matOf(
          rows,
          cols,
          Float32Array.from({ length: rows * cols }, (_, i) => i),
        )
        const T = transpose(A)
        assertShape(T, cols, rows, 'T')
        for (let i = 0; i < rows; i++)
          for (let j = 0; j < cols; j++) if (T.data[j * rows + i] !== A.data[i * cols + j]) return false
        return true
      }),
      { numRuns: 30 },
    )
  })

  it('elementCount() is 1 for a scalar and 0 when any dimension is', () => {
    expect([elementCount([]), elementCount([2, 3]), elementCount([5, 0])]).toEqual([1, 6, 0])
  })
})
