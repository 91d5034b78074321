// The column loop of SparseGPT on up to 32 columns of W. Columns are rows here: W is kept (in, out), and every output is
// independent of the others, so 32 columns x 16 outputs are finished before the next 16 outputs: what they removed (2 kB)
// stays in the first-level cache. Four columns at a time take all earlier ones in one pass with 8 accumulators.
import { inverseOf, rounded } from './grid'
import { advance, GONE, KEEP, keepHighest, markAbove, packBits, ROW, square } from './tile'

/** Scratch of eliminateOnGrid(), after the tile: 1 / scale of 16 outputs. */
const INVERSE: usize = 96 * ROW

/**
 * Prunes `rows` ≤ 32 columns of W in order. Column j with removed part d_j = w_j where pruned, 0 elsewhere:
 * w_k −= d_j · R_jk for the later columns k, R_jk = U_jk / U_jj (the published err_j = d_j / U_jj times U_jk).
 *
 *   W        (rows, ld) current weights
 *   W0       (rows, ld) in: original weights, out: W0 − pruned weights
 *   removed  (rows, ld) out: d
 *   R        (32, 32) upper triangle
 *   scores   (rows, ld): kept where score > threshold (m = 0), else unused
 *   diagonal M_jj = 1 / U_jj
 *   mask     one 32-bit word per output, `maskStride` words apart: bit j = column j kept
 *   n, m     n of every m ≤ 32 columns are pruned, chosen from the weights as they are when the group begins; m = 0: by
 *            threshold
 *   scratch  6144 bytes
 *
 * Returns Σ err²: summed in f32 over the columns of a tile, in f64 over tiles.
 */
export function eliminate(
  W: usize, W0: usize, removed: usize, rows: i32, ld: i32, R: usize,
  scores: usize, threshold: f32, diagonal: usize, n: i32, m: i32,
  mask: usize, maskStride: i32, scratch: usize,
): f64 {
  return sweepTiles(
    false, W, W0, removed, rows, ld, R, scores, threshold, diagonal, n, m, mask, maskStride, scratch, 0, 0,
  )
}

/**
 * The same with kept weights rounded to a grid (GPTQ, arXiv 2210.17323, inside SparseGPT): q_j = scale · round(w_j / scale)
 * where kept, 0 elsewhere, and d_j = w_j − q_j goes through the same update.
 *
 *   scales   (ld): scale of every output for these columns, 0 where all its kept weights are 0
 *   limit    largest |w / scale|
 *   scratch  6208 bytes
 */
export function eliminateOnGrid(
  W: usize, W0: usize, removed: usize, rows: i32, ld: i32, R: usize,
  scores: usize, threshold: f32, diagonal: usize, n: i32, m: i32,
  mask: usize, maskStride: i32, scratch: usize, scales: usize, limit: f32,
): f64 {
  return sweepTiles(
    true, W, W0, removed, rows, ld, R, scores, threshold, diagonal, n, m, mask, maskStride, scratch, scales, limit,
  )
}

/** Both forms; `onGrid` is a constant after inlining. */
// @ts-ignore: decorator
@inline
function sweepTiles(
  onGrid: bool, W: usize, W0: usize, removed: usize, rows: i32, ld: i32, R: usize,
  scores: usize, threshold: f32, diagonal: usize, n: i32, m: i32,
  mask: usize, maskStride: i32, scratch: usize, scales: usize, limit: f32,
): f64 {
  const stride = <usize>ld << 2
  const cut = f32x4.splat(threshold)
  let loss: f64 = 0
  for (let o: usize = 0; o < stride; o += ROW) {
    let sum = f32x4.splat(0)
    let group = 0
    if (onGrid) invertScales(scales + o, scratch + INVERSE)
    // Four by four unless pairs must be chosen in between, or fewer are left.
    for (let g = 0, step = 4; g < rows; g += step) {
      if (m == 2 || rows - g < 4) step = 1
      const at = <usize>g * stride + o
      if (m == 0) {
        markAbove(scratch, g, step, scores + at, stride, cut)
        advance(scratch, g, step, W + at, stride, R, 0, g)
      } else {
        if (g % m == 0) {
          group = g
          for (let u = g; u < g + m; u += step)
            advance(scratch, u, step, W + <usize>u * stride + o, stride, R, 0, g)
          keepHighest(scratch, g, n, m, diagonal)
        }
        advance(scratch, g, step, scratch + <usize>g * ROW, ROW, R, group, g)
      }
      if (step == 4) sum = settleFour(onGrid, scratch, g, R, W0 + at, removed + at, stride, diagonal, sum, scales + o, limit)
      else sum = settleOne(onGrid, scratch, g, W0 + at, removed + at, diagonal, sum, scales + o, limit)
    }
    packBits(scratch, rows, mask + ((o >> 2) * <usize>maskStride << 2), <usize>maskStride << 2)
    loss += <f64>f32x4.extract_lane(sum, 0) + <f64>f32x4.extract_lane(sum, 1)
    loss += <f64>f32x4.extract_lane(sum, 2) + <f64>f32x4.extract_lane(sum, 3)
  }
  return loss
}

/** Prunes columns g..g+3 of the tile by their kept flags, each updating the next ones; returns sum + Σ err². */
// @ts-ignore: decorator
@inline
function settleFour(
  onGrid: bool, tile: usize, g: i32, R: usize, W0: usize, removed: usize, stride: usize, diagonal: usize, sum: v128,
  scales: usize, limit: f32,
): v128 {
  const R0 = R + (<usize>g << 7) + (<usize>g << 2)
  const u01 = v128.load_splat<f32>(R0, 4), u02 = v128.load_splat<f32>(R0, 8), u03 = v128.load_splat<f32>(R0, 12)
  const u12 = v128.load_splat<f32>(R0, 136), u13 = v128.load_splat<f32>(R0, 140), u23 = v128.load_splat<f32>(R0, 268)
  const Z1 = W0 + stride, Z2 = Z1 + stride, Z3 = Z2 + stride
  const X1 = removed + stride, X2 = X1 + stride, X3 = X2 + stride
  const M = diagonal + (<usize>g << 2)
  for (let h: usize = 0; h < ROW; h += 16) {
    const t = tile + <usize>g * ROW + h
    const s = scales + h, v = tile + INVERSE + h
    const d0 = settle(onGrid, t, v128.load(t), W0 + h, removed + h, s, v, limit)
    const d1 = settle(onGrid, t + ROW, f32x4.sub(v128.load(t, ROW), f32x4.mul(u01, d0)), Z1 + h, X1 + h, s, v, limit)
    let w = f32x4.sub(v128.load(t, 2 * ROW), f32x4.mul(u02, d0))
    const d2 = settle(onGrid, t + 2 * ROW, f32x4.sub(w, f32x4.mul(u12, d1)), Z2 + h, X2 + h, s, v, limit)
    w = f32x4.sub(v128.load(t, 3 * ROW), f32x4.mul(u03, d0))
    w = f32x4.sub(w, f32x4.mul(u13, d1))
    const d3 = settle(onGrid, t + 3 * ROW, f32x4.sub(w, f32x4.mul(u23, d2)), Z3 + h, X3 + h, s, v, limit)
    sum = f32x4.add(sum, square(d0, v128.load_splat<f32>(M)))
    sum = f32x4.add(sum, square(d1, v128.load_splat<f32>(M, 4)))
    sum = f32x4.add(sum, square(d2, v128.load_splat<f32>(M, 8)))
    sum = f32x4.add(sum, square(d3, v128.load_splat<f32>(M, 12)))
  }
  return sum
}

/** The same for one column. */
// @ts-ignore: decorator
@inline
function settleOne(
  onGrid: bool, tile: usize, g: i32, W0: usize, removed: usize, diagonal: usize, sum: v128, scales: usize, limit: f32,
): v128 {
  const M = v128.load_splat<f32>(diagonal + (<usize>g << 2))
  for (let h: usize = 0; h < ROW; h += 16) {
    const t = tile + <usize>g * ROW + h
    const s = scales + h, v = tile + INVERSE + h
    const d = settle(onGrid, t, v128.load(t), W0 + h, removed + h, s, v, limit)
    sum = f32x4.add(sum, square(d, M))
  }
  return sum
}

/** Finishes 4 outputs of a column with current weights w, at tile address t; returns d, what was taken from w. */
// @ts-ignore: decorator
@inline
function settle(
  onGrid: bool, t: usize, w: v128, W0: usize, removed: usize, scale: usize, inverse: usize, limit: f32,
): v128 {
  const keep = v128.load(t, KEEP)
  const q = onGrid ? rounded(w, v128.load(scale), v128.load(inverse), limit) : w
  const kept = v128.and(q, keep)
  const d = onGrid ? f32x4.sub(w, kept) : v128.andnot(w, keep)
  v128.store(W0, f32x4.sub(v128.load(W0), kept))
  v128.store(removed, d)
  v128.store(t, d, GONE)
  return d
}

/** inverse (16) = 1 / scale, 0 where the scale is 0. */
// @ts-ignore: decorator
@inline
function invertScales(scale: usize, inverse: usize): void {
  for (let h: usize = 0; h < ROW; h += 16) v128.store(inverse + h, inverseOf(v128.load(scale + h)))
}

/** The same choice for groups of more than 32 columns: scores (m, ld) become 1 where kept and 0 where not. */
export function markHighest(W: usize, scores: usize, m: i32, n: i32, ld: i32, diagonal: usize): void {
  const stride = <usize>ld << 2
  const lowest = i32x4.splat(n)
  const one = f32x4.splat(1)
  for (let o: usize = 0; o < stride; o += 16)
    for (let i = 0; i < m; i++) {
      const s = scoreAt(W + o, i, stride, diagonal)
      let rank = i32x4.splat(0)
      for (let j = 0; j < i; j++) rank = i32x4.sub(rank, f32x4.le(scoreAt(W + o, j, stride, diagonal), s))
      for (let j = i + 1; j < m; j++) rank = i32x4.sub(rank, f32x4.lt(scoreAt(W + o, j, stride, diagonal), s))
      v128.store(scores + <usize>i * stride + o, v128.and(i32x4.ge_s(rank, lowest), one))
    }
}

// @ts-ignore: decorator
@inline
function scoreAt(W: usize, i: i32, stride: usize, diagonal: usize): v128 {
  return f32x4.abs(f32x4.mul(v128.load(W + <usize>i * stride), v128.load_splat<f32>(diagonal + (<usize>i << 2))))
}
