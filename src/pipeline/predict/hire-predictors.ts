import type { Blas } from '../../tensor/blas.ts'
import type { RawTensor } from '../../tensor/dtype.ts'
import { fromF16 } from '../../tensor/half.ts'
import type { Mat } from '../../tensor/mat.ts'
import { matOf } from '../../tensor/mat.ts'
import { lowRank, truncated } from '../../predict/low-rank.ts'
import type { InputRoot } from '../../predict/low-rank.ts'
import type { HirePredictor, StoredPredictor } from '../../predict/predictor.ts'
import { storeFactors, storeRows } from '../../predict/predictor.ts'
import { dequantizeRows, quantizeRows } from '../../predict/quantized-rows.ts'

/** A predictor of one matrix: what is written, and the same numbers as a chain of products x → x Aᵀ → … */
export type MadePredictor = {
  readonly stored: StoredPredictor
  readonly chain: readonly Mat[]
  /** The bias of the matrix, where it has one; exact, and stored with the model. */
  readonly bias?: Float32Array
}

/** Predictors of W (n, d), one for each form; factors are computed once, at the largest rank. */
export async function makePredictors(
  blas: Blas,
  W: Mat,
  root: InputRoot | undefined,
  forms: readonly HirePredictor[],
): Promise<MadePredictor[]> {
  const ranks = forms.flatMap((form) => (form.kind === 'lr' ? [form.rank] : []))
  const factors = ranks.length > 0 ? await lowRank(blas, W, root, Math.max(...ranks)) : undefined
  return forms.map((form) => {
    if (form.kind === 'q') {
      const rows = quantizeRows(W, form.bits, form.groupSize)
      return { stored: storeRows(rows), chain: [dequantizeRows(rows)] }
    }
    const stored = storeFactors(truncated(factors!, form.rank))
    return { stored, chain: [matrixOf(stored['V']!), matrixOf(stored['U']!)] }
  })
}

/** rows x (n, d) through a chain, (n, outputs). */
export async function throughChain(blas: Blas, chain: readonly Mat[], x: Float32Array): Promise<Float32Array> {
  let rows = x
  for (const A of chain) {
    const n = rows.length / A.cols
    const out = new Float32Array(n * A.rows)
    await blas.gemm(n, A.rows, A.cols, rows, A.data, out, { transB: true })
    rows = out
  }
  return rows
}

function matrixOf({ bytes, shape }: RawTensor): Mat {
  return matOf(shape[0]!, shape[1]!, fromF16(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)))
}
