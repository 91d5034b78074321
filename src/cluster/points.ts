import type { Wasm } from '../linalg/wasm.ts'
import { instantiateWasm } from '../linalg/wasm.ts'

/** The kernel of src/kernels/assembly/lloyd.ts; pointers are byte addresses. */
export type LloydExports = {
  lloydStep(
    n: number,
    dim: number,
    stride: number,
    kPad: number,
    X: number,
    T: number,
    B: number,
    C: number,
    labels: number,
    sums: number,
    counts: number,
    inertia: number,
  ): number
}

/** Points to cluster, in WebAssembly memory. Columns from `dim` to `stride` are zero. */
export type Points = {
  readonly rows: number
  readonly dim: number
  /** `dim` rounded up to a multiple of 4. */
  readonly stride: number
  readonly address: number
  readonly data: Float32Array // (rows, stride)
  readonly labelsAddress: number
  readonly labels: Uint8Array // (rows)
}

/** Room for k-means of up to `rows` points and for the sample on which its starts are compared. */
export type Space = {
  readonly wasm: Wasm<LloydExports>
  readonly k: number
  readonly points: Points
  readonly sample: Points
}

/** Points of the sample: enough that the better of two starts there is the better one on all points. */
export const SAMPLE_ROWS = 16_384

/** dim rounded up to whole vectors of 4 floats. */
export function strideOf(dim: number): number {
  return Math.ceil(dim / 4) * 4
}

/**
 * Reserves memory for `rows` points of `dim` numbers and k ≤ 256 centroids. Throws ResourceError past 4 GiB, the limit of
 * WebAssembly memory.
 */
export function createSpace(rows: number, dim: number, k: number): Space {
  const stride = strideOf(dim)
  const sampleRows = Math.min(rows, SAMPLE_ROWS)
  const perPoint = stride * 4 + 1
  const perCentroid = stride * 32 + 64 // both steps of lloyd.ts
  const wasm = instantiateWasm<LloydExports>((rows + sampleRows) * perPoint + (k + 16) * perCentroid + 4096)
  const points = (count: number): Points => {
    const address = wasm.allocate(count * stride)
    const labelsAddress = wasm.allocate(Math.ceil(count / 4))
    return {
      rows: count,
      dim,
      stride,
      address,
      data: wasm.view(address, count * stride),
      labelsAddress,
      labels: new Uint8Array(wasm.memory.buffer, labelsAddress, count),
    }
  }
  return { wasm, k, points: points(rows), sample: points(sampleRows) }
}
