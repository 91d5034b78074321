import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import { zeros } from '../tensor/mat.ts'
import type { RowSource } from './moments.ts'
import { CHUNK_ROWS } from './moments.ts'
import type { Pca } from './pca.ts'
import type { Points } from './points.ts'

/** points = P x − P μ of every row, straight into the points' memory. */
export async function project(source: RowSource, basis: Pca, blas: Blas, points: Points): Promise<void> {
  await projectRows(source, basis, blas, { start: 0, end: source.rows, stride: points.stride, out: points.data })
}

/** Rows [start, end) of the points, into `out` (end − start, stride), padded by rows of zeros in P. */
export async function projectRows(
  source: Pick<RowSource, 'chunk'>,
  { P, mean }: Pick<Pca, 'P' | 'mean'>,
  blas: Blas,
  part: { readonly start: number; readonly end: number; readonly stride: number; readonly out: Float32Array },
): Promise<void> {
  const { stride } = part
  const padded: Mat = zeros(stride, P.cols)
  padded.data.set(P.data)
  const offset = new Float32Array(stride)
  for (let c = 0; c < P.rows; c++) {
    let sum = 0
    for (let j = 0; j < P.cols; j++) sum -= P.data[c * P.cols + j] * mean[j]
    offset[c] = sum
  }
  for (let { start } = part; start < part.end; start += CHUNK_ROWS) {
    const end = Math.min(start + CHUNK_ROWS, part.end)
    const out = part.out.subarray((start - part.start) * stride, (end - part.start) * stride)
    for (let i = 0; i < end - start; i++) out.set(offset, i * stride)
    await blas.gemm(end - start, stride, P.cols, await source.chunk(start, end), padded.data, out, {
      transB: true,
      beta: 1,
    })
  }
}
