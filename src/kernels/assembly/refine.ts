// Coordinate descent on kept weights: the best value of one weight while all others stay, 16 outputs at a time.
import { inverseOf, rounded } from './grid'
import { ROW } from './tile'

/**
 * Moves the kept weights of `rows` ≤ 32 columns of W in order, each to where tr(D H Dᵀ) is lowest, D = W − Ŵ: ŵ_j +
 * (D H)_j / H_jj, or the number of the grid nearest to it.
 *
 *   W      (rows, ld) original weights
 *   D      (rows, ld) in and out: W − Ŵ
 *   DH     (rows, ld) (D H)_j without damping, as it is before the first of these columns moves
 *   moved  (rows, ld) out: how far each weight moved
 *   H      (32, 32) these columns of H, its diagonal damped by `shift`
 *   mask   one 32-bit word per output, `maskStride` words apart: bit j = column j kept
 *   scales (ld): scale of every output for these columns; 0: no grid
 *   limit  largest |w / scale|
 *
 * Returns the change of tr(D H Dᵀ), H damped, not above 0: summed in f32 over the columns of a tile, in f64 over tiles.
 */
export function refineColumns(
  W: usize, D: usize, DH: usize, moved: usize, rows: i32, ld: i32, H: usize, shift: f32,
  mask: usize, maskStride: i32, scales: usize, limit: f32,
): f64 {
  const stride = <usize>ld << 2
  const wordStride = <usize>maskStride << 2
  const damping = f32x4.splat(shift)
  let change: f64 = 0
  for (let o: usize = 0; o < stride; o += ROW) {
    let sum = f32x4.splat(0)
    for (let h = o; h < o + ROW; h += 16) {
      const words = wordsOf(mask + (h >> 2) * wordStride, wordStride)
      const scale = scales == 0 ? f32x4.splat(0) : v128.load(scales + h)
      const inverse = inverseOf(scale)
      for (let j = 0; j < rows; j++) {
        const at = <usize>j * stride + h
        const row = H + (<usize>j << 7)
        const d = v128.load(D + at)
        const w = f32x4.sub(v128.load(W + at), d)
        const g = gradient(f32x4.add(v128.load(DH + at), f32x4.mul(damping, d)), moved + h, stride, row, j)
        const Hjj = load<f32>(row + (<usize>j << 2))
        const best = f32x4.add(w, f32x4.mul(g, f32x4.splat(1 / Hjj)))
        const keep = i32x4.shr_s(i32x4.shl(words, 31 - j), 31)
        const to = v128.and(scales == 0 ? best : rounded(best, scale, inverse, limit), keep)
        const step = f32x4.sub(to, w)
        v128.store(moved + at, step)
        v128.store(D + at, f32x4.sub(d, step))
        // tr((D − step) H (D − step)ᵀ) − tr(D H Dᵀ)
        sum = f32x4.add(sum, f32x4.mul(step, f32x4.sub(f32x4.mul(step, f32x4.splat(Hjj)), f32x4.add(g, g))))
      }
    }
    change += <f64>f32x4.extract_lane(sum, 0) + <f64>f32x4.extract_lane(sum, 1)
    change += <f64>f32x4.extract_lane(sum, 2) + <f64>f32x4.extract_lane(sum, 3)
  }
  return change
}

/** g − Σ_{k < j} moved_k · H_jk: earlier columns have moved. Two sums, so that additions need not wait for each other. */
// @ts-ignore: decorator
@inline
function gradient(g: v128, moved: usize, stride: usize, row: usize, j: i32): v128 {
  let other = f32x4.splat(0)
  let k = 0
  for (; k + 2 <= j; k += 2, moved += 2 * stride, row += 8) {
    g = f32x4.sub(g, f32x4.mul(v128.load(moved), v128.load_splat<f32>(row)))
    other = f32x4.add(other, f32x4.mul(v128.load(moved + stride), v128.load_splat<f32>(row, 4)))
  }
  if (k < j) other = f32x4.add(other, f32x4.mul(v128.load(moved), v128.load_splat<f32>(row)))
  return f32x4.sub(g, other)
}

/** The mask words of four outputs. */
// @ts-ignore: decorator
@inline
function wordsOf(mask: usize, stride: usize): v128 {
  let words = i32x4.splat(load<i32>(mask))
  words = i32x4.replace_lane(words, 1, load<i32>(mask + stride))
  words = i32x4.replace_lane(words, 2, load<i32>(mask + 2 * stride))
  return i32x4.replace_lane(words, 3, load<i32>(mask + 3 * stride))
}
