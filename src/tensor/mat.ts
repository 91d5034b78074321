import { ShapeError } from '../errors.ts'

/** A plain row-major matrix: element (i, j) is data[i · cols + j]. */
export type Mat = { readonly rows: number; readonly cols: number; readonly data: Float32Array }

/** A zero matrix (rows, cols). */
export function zeros(rows: number, cols: number): Mat {
  return { rows, cols, data: new Float32Array(rows * cols) }
}

/** Wraps `data` as (rows, cols). Throws ShapeError when the length is not rows · cols. */
export function matOf(rows: number, cols: number, data: Float32Array): Mat {
  if (data.length !== rows * cols)
    throw new ShapeError(`Cannot view ${data.length} numbers as (${rows}, ${cols}): that needs ${rows * cols}`)
  return { rows, cols, data }
}

/** Throws ShapeError unless A is (rows, cols). */
export function assertShape(A: Mat, rows: number, cols: number, name: string): void {
  if (A.rows !== rows || A.cols !== cols || A.data.length !== rows * cols)
    throw new ShapeError(
      `Wrong shape for ${name}: got (${A.rows}, ${A.cols}) with ${A.data.length} numbers, expected (${rows}, ${cols})`,
    )
}

/** Copies A transposed into a new matrix (cols, rows), in cache-sized tiles. */
export function transpose(A: Mat): Mat {
  const T = zeros(A.cols, A.rows)
  transposeInto(A.data, A.rows, A.cols, T.data)
  return T
}

/** out (cols, rows) = a (rows, cols) transposed, in cache-sized tiles. */
export function transposeInto(a: Float32Array, rows: number, cols: number, out: Float32Array): void {
  const tile = 32
  for (let i0 = 0; i0 < rows; i0 += tile) {
    const i1 = Math.min(i0 + tile, rows)
    for (let j0 = 0; j0 < cols; j0 += tile) {
      const j1 = Math.min(j0 + tile, cols)
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) out[j * rows + i] = a[i * cols + j]
    }
  }
}
