import { ShapeError } from '../errors.ts'
import type { Blas } from '../tensor/blas.ts'

/** Columns of one panel are at least this many: narrower products run far below full speed. */
const MIN_PANEL = 128
/** At most 4 panels: 10 of their 16 blocks are computed, more would save little. */
const MAX_PANELS = 4

/**
 * H (inputs, inputs) += XᵀX for X (rows, inputs), in place. Only the blocks on and above the diagonal are computed, and
 * every entry is added to its mirror image too: an H that was exactly symmetric stays so.
 * Throws ShapeError when the lengths do not fit.
 */
export async function accumulateGram(
  blas: Blas,
  X: Float32Array,
  rows: number,
  inputs: number,
  H: Float32Array,
): Promise<void> {
  if (X.length !== rows * inputs || H.length !== inputs * inputs)
    throw new ShapeError(
      `Cannot accumulate XᵀX: X has ${X.length} numbers for (${rows}, ${inputs}), H has ${H.length}, ` +
        `expected ${rows * inputs} and ${inputs * inputs}`,
    )
  const panels = cut(X, rows, inputs)
  const widest = panels[0]!.width
  const T = new Float32Array(widest * widest)
  for (const [i, left] of panels.entries())
    for (const right of panels.slice(i)) {
      const block = T.subarray(0, left.width * right.width)
      await blas.gemm(left.width, right.width, rows, left.X, right.X, block, { transA: true })
      addMirrored(block, left, right, inputs, H)
    }
}

/** Columns [begin, begin + width) of X as a matrix (rows, width) of their own. */
type Panel = { readonly begin: number; readonly width: number; readonly X: Float32Array }

function cut(X: Float32Array, rows: number, inputs: number): Panel[] {
  const count = Math.max(1, Math.min(MAX_PANELS, Math.floor(inputs / MIN_PANEL)))
  if (count === 1) return [{ begin: 0, width: inputs, X }]
  // Multiples of 16 keep the kernels of the product free of remainders.
  const width = Math.ceil(inputs / count / 16) * 16
  return Array.from({ length: Math.ceil(inputs / width) }, (_, p) => {
    const begin = p * width
    const end = Math.min(begin + width, inputs)
    const columns = new Float32Array(rows * (end - begin))
    for (let r = 0; r < rows; r++) columns.set(X.subarray(r * inputs + begin, r * inputs + end), r * (end - begin))
    return { begin, width: end - begin, X: columns }
  })
}

/** H[left, right] += T and H[right, left] += Tᵀ; of a diagonal block the upper triangle counts. */
function addMirrored(T: Float32Array, left: Panel, right: Panel, inputs: number, H: Float32Array): void {
  const isDiagonal = left === right
  const tile = 32
  for (let i0 = 0; i0 < left.width; i0 += tile)
    for (let j0 = isDiagonal ? i0 : 0; j0 < right.width; j0 += tile) {
      const i1 = Math.min(i0 + tile, left.width)
      const j1 = Math.min(j0 + tile, right.width)
      for (let i = i0; i < i1; i++) {
        const upper = (left.begin + i) * inputs + right.begin
        const lower = right.begin * inputs + left.begin + i
        for (let j = isDiagonal ? Math.max(i, j0) : j0; j < j1; j++) {
          const sum = H[upper + j]! + T[i * right.width + j]!
          H[upper + j] = sum
          H[lower + j * inputs] = sum
        }
      }
    }
}
