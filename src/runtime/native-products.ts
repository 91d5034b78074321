import { ShapeError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'
import { nativeStatus } from './native.ts'

/** Products on the processor's matrix units, on this thread; results depend on the shapes only. */
export type NativeProducts = Blas & {
  /** As accurate as intermediates(); `rounded`: of X rounded to bf16, at a third of the cost. */
  gram(rows: number, n: number, X: Float32Array, S: Float32Array, rounded?: boolean): void
  /**
   * silu(X gateᵀ) · (X upᵀ): X (rows, hidden), gate and up (ff, hidden) → (rows, ff). Factors with 16 bits of mantissa,
   * sums in f32: 3 · 2^-16 of Σ|a b| at most, a tenth of what rounding the weights to f16 does. The result is a buffer
   * that the next call overwrites.
   */
  intermediates(X: Float32Array, rows: number, gate: Float32Array, up: Float32Array): Float32Array
  /** X Wᵀ: X (rows, in), W (out, in) → (rows, out), as accurate as intermediates(); overwritten by the next linear(). */
  linear(X: Float32Array, rows: number, W: Float32Array): Float32Array
}

/**
 * The addon's products where they beat onnxruntime's: on processors with AMX tiles. undefined elsewhere, and where the
 * addon is not built: onnxruntime is as fast or faster then.
 */
export function nativeProducts(): NativeProducts | undefined {
  const native = nativeStatus()
  if (!native.found || native.addon.gemmIsa() !== 'amx') return undefined
  const { addon } = native
  const [gates, ups, outputs] = [reused(), reused(), reused()]
  const product = (X: Float32Array, rows: number, W: Float32Array, buffer: Reused): Float32Array => {
    const inputs = X.length / rows
    const columns = W.length / inputs
    if (!Number.isInteger(inputs) || !Number.isInteger(columns))
      throw new ShapeError(`Cannot multiply ${rows} rows of ${inputs} numbers by a matrix of ${W.length} numbers`)
    const y = buffer(rows * columns)
    addon.gemm(rows, columns, inputs, X, W, y, false, true, 1, 0, true)
    return y
  }
  return {
    gemm(m, n, k, A, B, C, { transA = false, transB = false, alpha = 1, beta = 0, fast = false } = {}) {
      addon.gemm(m, n, k, A, B, C, transA, transB, alpha, beta, fast)
      return Promise.resolve()
    },
    gram: (rows, n, X, S, rounded = false) => addon.gram(rows, n, X, S, rounded ? 1 : 2),
    linear: (X, rows, W) => product(X, rows, W, outputs),
    intermediates(X, rows, gate, up) {
      const z = product(X, rows, gate, gates)
      addon.siluMultiply(z, product(X, rows, up, ups))
      return z
    },
  }
}

type Reused = (length: number) => Float32Array

/** A buffer that grows to the longest wanted: fresh ones for every product would keep the garbage collector busy. */
function reused(): Reused {
  let buffer = new Float32Array(0)
  return (length) => {
    if (buffer.length < length) buffer = new Float32Array(length)
    return buffer.subarray(0, length)
  }
}
