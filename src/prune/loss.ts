import type { Blas } from '../tensor/blas.ts'

/** tr(Δ H Δᵀ) and tr(W H Wᵀ): squared output error and squared output, per token when H = 2/n · Σ x xᵀ (times 2). */
export type Reconstruction = { readonly loss: number; readonly norm: number }

/** Δ = W − Ŵ; W and Ŵ (outputs, inputs), H (inputs, inputs). */
export async function reconstructionLoss(
  blas: Blas,
  W: Float32Array,
  What: Float32Array,
  H: Float32Array,
  outputs: number,
  inputs: number,
): Promise<Reconstruction> {
  const D = new Float32Array(W.length)
  for (let i = 0; i < W.length; i++) D[i] = W[i]! - What[i]!
  return { loss: await quadratic(blas, D, H, outputs, inputs), norm: await quadratic(blas, W, H, outputs, inputs) }
}

/** tr(A H Aᵀ), products in f32, the sum in f64. */
async function quadratic(
  blas: Blas,
  A: Float32Array,
  H: Float32Array,
  outputs: number,
  inputs: number,
): Promise<number> {
  const AH = new Float32Array(A.length)
  await blas.gemm(outputs, inputs, inputs, A, H, AH)
  let sum = 0
  for (let i = 0; i < A.length; i++) sum += A[i]! * AH[i]!
  return sum
}
