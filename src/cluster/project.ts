import type { Blas } from '../tensor/blas.ts'
import type { Mat } from '../tensor/mat.ts'
import { zeros } from '../tensor/mat.ts'
import type { RowSource } from './moments.ts'
import { CHUNK_ROWS } from './moments.ts'
import type { Pca } from './pca.ts'
import type { Points } from './points.ts'

/** points = P x − P μ of every row, straight into the points' memory, padded by rows of zeros in P. */
export async function project(source: RowSource, { P, mean }: Pca, blas: Blas, points: Points): Promise<void> {
  const { stride, data } = points
  const padded: Mat = zeros(stride, P.cols)
  padded.data.set(P.data)
  const offset = new Float32Array(stride)
  for (let c = 0; c < P.rows; c++) {
    let sum = 0
    for (let j = 0; j < P.cols; j++) sum -= P.data[c * P.cols + j] * mean[j]
    offset[c] = sum
  }
  for (let start = 0; start < source.rows; start += CHUNK_ROWS) {
    const end = Math.min(start + CHUNK_ROWS, source.rows)
    const out = data.subarray(start * stride, end * stride)
    for (let i = 0; i < end - start; i++) out.set(offset, i * stride)
    await blas.gemm(end - start, stride, P.cols, await source.chunk(start, end), padded.data, out, {
      transB: true,
      beta: 1,
    })
  }
}
