/** Flags of one product; alpha defaults to 1 and beta to 0. */
export type GemmOptions = {
  readonly transA?: boolean
  readonly transB?: boolean
  readonly alpha?: number
  readonly beta?: number
  /** Factors with 16 bits of mantissa will do, where that is faster. @default false */
  readonly fast?: boolean
}

/**
 * The one matrix product the solver and the clustering need, whoever computes it (onnxruntime in src/runtime/blas.ts,
 * a triple loop in tests). All operands are contiguous and row-major; they may be views of WebAssembly memory.
 */
export interface Blas {
  /** C (m, n) = alpha · op(A) (m, k) · op(B) (k, n) + beta · C. A is stored (m, k), or (k, m) when transA; B likewise. */
  gemm(
    m: number,
    n: number,
    k: number,
    A: Float32Array,
    B: Float32Array,
    C: Float32Array,
    options?: GemmOptions,
  ): Promise<void>

  /**
   * The lower triangle of S (n, n) += Xᵀ X, X (rows, n); absent where there is no faster way than gemm(). `rounded` allows
   * X to be rounded to bf16 first where that is faster.
   */
  gram?(rows: number, n: number, X: Float32Array, S: Float32Array, rounded?: boolean): void
}
