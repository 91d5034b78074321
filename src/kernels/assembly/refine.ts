// Coordinate descent on kept weights: the best value of one weight while all others stay. Columns are rows here, as in
// eliminate.ts; 16 outputs at a time, four vectors that do not wait for each other.
import { inverseOf, rounded } from './grid'
import { ROW } from './tile'

/** Mask words, 1 / scale of 16 outputs and their scales. */
const STAGE: usize = memory.data(3 * 64, 16)
const INVERSE: usize = ROW
const SCALE: usize = 2 * ROW

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
  return scales == 0
    ? refineTiles(false, W, D, DH, moved, rows, ld, H, shift, mask, maskStride, scales, limit)
    : refineTiles(true, W, D, DH, moved, rows, ld, H, shift, mask, maskStride, scales, limit)
}

/** Both forms; `onGrid` is a constant after inlining. */
// @ts-ignore: decorator
@inline
function refineTiles(
  onGrid: bool, W: usize, D: usize, DH: usize, moved: usize, rows: i32, ld: i32, H: usize, shift: f32,
  mask: usize, maskStride: i32, scales: usize, limit: f32,
): f64 {
  const stride = <usize>ld << 2
  const damping = f32x4.splat(shift)
  let change: f64 = 0
  for (let o: usize = 0; o < stride; o += ROW) {
    stageTile(onGrid, mask + (o >> 2) * (<usize>maskStride << 2), <usize>maskStride << 2, scales + o)
    let sum = f32x4.splat(0)
    for (let j = 0; j < rows; j++) {
      const at = <usize>j * stride + o
      const row = H + (<usize>j << 7)
      const Hjj = load<f32>(row + (<usize>j << 2))
      const d = D + at, g = DH + at
      let g0 = f32x4.add(v128.load(g), f32x4.mul(damping, v128.load(d)))
      let g1 = f32x4.add(v128.load(g, 16), f32x4.mul(damping, v128.load(d, 16)))
      let g2 = f32x4.add(v128.load(g, 32), f32x4.mul(damping, v128.load(d, 32)))
      let g3 = f32x4.add(v128.load(g, 48), f32x4.mul(damping, v128.load(d, 48)))
      // Earlier columns have moved: D H is smaller by Σ_{k < j} moved_k · H_jk.
      let m = moved + o
      for (let r = row, end = row + (<usize>j << 2); r < end; r += 4, m += stride) {
        const h = v128.load_splat<f32>(r)
        g0 = f32x4.sub(g0, f32x4.mul(h, v128.load(m)))
        g1 = f32x4.sub(g1, f32x4.mul(h, v128.load(m, 16)))
        g2 = f32x4.sub(g2, f32x4.mul(h, v128.load(m, 32)))
        g3 = f32x4.sub(g3, f32x4.mul(h, v128.load(m, 48)))
      }
      const w = W + at
      sum = f32x4.add(sum, settle(onGrid, g0, w, d, m, STAGE, j, Hjj, limit))
      sum = f32x4.add(sum, settle(onGrid, g1, w + 16, d + 16, m + 16, STAGE + 16, j, Hjj, limit))
      sum = f32x4.add(sum, settle(onGrid, g2, w + 32, d + 32, m + 32, STAGE + 32, j, Hjj, limit))
      sum = f32x4.add(sum, settle(onGrid, g3, w + 48, d + 48, m + 48, STAGE + 48, j, Hjj, limit))
    }
    change += <f64>f32x4.extract_lane(sum, 0) + <f64>f32x4.extract_lane(sum, 1)
    change += <f64>f32x4.extract_lane(sum, 2) + <f64>f32x4.extract_lane(sum, 3)
  }
  return change
}

/** Moves 4 weights of column j, g = (D H)_j; returns what that changes: tr((D − step) H (D − step)ᵀ) − tr(D H Dᵀ). */
// @ts-ignore: decorator
@inline
function settle(
  onGrid: bool, g: v128, W: usize, D: usize, moved: usize, stage: usize, j: i32, Hjj: f32, limit: f32,
): v128 {
  const d = v128.load(D)
  const w = f32x4.sub(v128.load(W), d)
  const best = f32x4.add(w, f32x4.mul(g, f32x4.splat(1 / Hjj)))
  const keep = i32x4.shr_s(i32x4.shl(v128.load(stage), 31 - j), 31)
  const to = onGrid ? rounded(best, v128.load(stage + SCALE), v128.load(stage + INVERSE), limit) : best
  const step = f32x4.sub(v128.and(to, keep), w)
  v128.store(moved, step)
  v128.store(D, f32x4.sub(d, step))
  return f32x4.mul(step, f32x4.sub(f32x4.mul(step, f32x4.splat(Hjj)), f32x4.add(g, g)))
}

/** What all columns of a tile share. */
// @ts-ignore: decorator
@inline
function stageTile(onGrid: bool, mask: usize, stride: usize, scales: usize): void {
  for (let i: usize = 0; i < ROW; i += 4, mask += stride) store<i32>(STAGE + i, load<i32>(mask))
  if (onGrid)
    for (let h: usize = 0; h < ROW; h += 16) {
      v128.store(STAGE + SCALE + h, v128.load(scales + h))
      v128.store(STAGE + INVERSE + h, inverseOf(v128.load(scales + h)))
    }
}
