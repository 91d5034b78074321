import { ShapeError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import type { RowSource } from './moments.ts'
import { CHUNK_ROWS } from './moments.ts'
import type { Router } from './router.ts'

/** The experts of the rows of X (n, d), by the float32 products that run at run time too. Throws ShapeError. */
export function route(router: Router, X: Mat, blas: Blas): Promise<Uint8Array> {
  if (X.cols !== router.weight.cols || X.data.length !== X.rows * X.cols)
    throw new ShapeError(
      `Cannot route ${X.rows} tokens: inputs are (${X.rows}, ${X.cols}) with ${X.data.length} numbers, ` +
        `the router wants width ${router.weight.cols}`,
    )
  return routeRows(router, X.rows, (start, end) => X.data.subarray(start * X.cols, end * X.cols), blas)
}

/** route() for rows that come in chunks. */
export async function routeRows(
  { weight, bias }: Router,
  rows: number,
  chunk: RowSource['chunk'],
  blas: Blas,
): Promise<Uint8Array> {
  const labels = new Uint8Array(rows)
  const k = weight.rows
  if (k === 1) return labels
  const scores = new Float32Array(Math.min(CHUNK_ROWS, rows) * k)
  for (let start = 0; start < rows; start += CHUNK_ROWS) {
    const end = Math.min(start + CHUNK_ROWS, rows)
    const X = await chunk(start, end)
    const some = scores.subarray(0, (end - start) * k)
    await blas.gemm(end - start, k, weight.cols, X, weight.data, some, { transB: true })
    argmax(some, bias, labels.subarray(start, end))
  }
  return labels
}

/** labels[i] = the first column of the largest scores[i] + bias. */
function argmax(scores: Float32Array, bias: Float32Array, labels: Uint8Array): void {
  const k = bias.length
  for (let i = 0; i < labels.length; i++) {
    let best = 0
    let value = Math.fround(scores[i * k] + bias[0])
    for (let c = 1; c < k; c++) {
      const score = Math.fround(scores[i * k + c] + bias[c])
      if (score > value) {
        value = score
        best = c
      }
    }
    labels[i] = best
  }
}
