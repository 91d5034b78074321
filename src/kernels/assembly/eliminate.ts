// The column loop of SparseGPT on up to 32 columns of W. Columns are rows here: W is kept (in, out), and every output is
// independent of the others, so 32 columns x 16 outputs are finished before the next 16 outputs: what they removed (2 kB)
// stays in the first-level cache. Four columns at a time take all earlier ones in one pass with 8 accumulators.

/** Outputs of one tile; all row lengths are multiples of it. */
const TILE: i32 = 16
const ROW: usize = <usize>TILE << 2
/** Scratch of one tile, 32 rows each: current weights, kept flags, removed parts d. */
const KEEP: usize = 32 * ROW
const GONE: usize = 64 * ROW

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
  const stride = <usize>ld << 2
  const cut = f32x4.splat(threshold)
  let loss: f64 = 0
  for (let o: usize = 0; o < stride; o += ROW) {
    let sum = f32x4.splat(0)
    let group = 0
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
      if (step == 4) sum = settleFour(scratch, g, R, W0 + at, removed + at, stride, diagonal, sum)
      else sum = settleOne(scratch, g, W0 + at, removed + at, diagonal, sum)
    }
    packBits(scratch, rows, mask + ((o >> 2) * <usize>maskStride << 2), <usize>maskStride << 2)
    loss += <f64>f32x4.extract_lane(sum, 0) + <f64>f32x4.extract_lane(sum, 1)
    loss += <f64>f32x4.extract_lane(sum, 2) + <f64>f32x4.extract_lane(sum, 3)
  }
  return loss
}

/** Kept flags of columns [g, g + count): score > cut. */
// @ts-ignore: decorator
@inline
function markAbove(tile: usize, g: i32, count: i32, scores: usize, stride: usize, cut: v128): void {
  let keep = tile + KEEP + <usize>g * ROW
  for (const end = keep + <usize>count * ROW; keep < end; keep += ROW, scores += stride) {
    v128.store(keep, f32x4.gt(v128.load(scores), cut))
    v128.store(keep, f32x4.gt(v128.load(scores, 16), cut), 16)
    v128.store(keep, f32x4.gt(v128.load(scores, 32), cut), 32)
    v128.store(keep, f32x4.gt(v128.load(scores, 48), cut), 48)
  }
}

/** Tile rows [g, g + count) = the rows at `source` − Σ_{from ≤ k < to} d_k · R_k,g.. (count is 1 or 4). */
// @ts-ignore: decorator
@inline
function advance(
  tile: usize, g: i32, count: i32, source: usize, stride: usize, R: usize, from: i32, to: i32,
): void {
  const row = tile + <usize>g * ROW
  const coefficients = R + (<usize>g << 2)
  const first = tile + GONE + <usize>from * ROW
  const last = tile + GONE + <usize>to * ROW
  if (count == 4) {
    for (let h: usize = 0; h < ROW; h += 32)
      advanceFour(row + h, source + h, stride, first + h, last + h, coefficients + (<usize>from << 7))
    return
  }
  for (let h: usize = 0; h < ROW; h += 16) {
    let a = v128.load(source + h)
    let r = coefficients + (<usize>from << 7)
    for (let d = first + h; d < last + h; d += ROW, r += 128)
      a = f32x4.sub(a, f32x4.mul(v128.load_splat<f32>(r), v128.load(d)))
    v128.store(row + h, a)
  }
}

/** Four rows of 8 outputs: 8 accumulators, 2 loads and 4 broadcasts for every earlier column. */
// @ts-ignore: decorator
@inline
function advanceFour(row: usize, source: usize, stride: usize, d: usize, last: usize, r: usize): void {
  let a0 = v128.load(source), b0 = v128.load(source, 16)
  source += stride
  let a1 = v128.load(source), b1 = v128.load(source, 16)
  source += stride
  let a2 = v128.load(source), b2 = v128.load(source, 16)
  source += stride
  let a3 = v128.load(source), b3 = v128.load(source, 16)
  for (; d < last; d += ROW, r += 128) {
    const a = v128.load(d), b = v128.load(d, 16)
    let u = v128.load_splat<f32>(r)
    a0 = f32x4.sub(a0, f32x4.mul(u, a))
    b0 = f32x4.sub(b0, f32x4.mul(u, b))
    u = v128.load_splat<f32>(r, 4)
    a1 = f32x4.sub(a1, f32x4.mul(u, a))
    b1 = f32x4.sub(b1, f32x4.mul(u, b))
    u = v128.load_splat<f32>(r, 8)
    a2 = f32x4.sub(a2, f32x4.mul(u, a))
    b2 = f32x4.sub(b2, f32x4.mul(u, b))
    u = v128.load_splat<f32>(r, 12)
    a3 = f32x4.sub(a3, f32x4.mul(u, a))
    b3 = f32x4.sub(b3, f32x4.mul(u, b))
  }
  v128.store(row, a0), v128.store(row, b0, 16)
  v128.store(row, a1, ROW), v128.store(row, b1, ROW + 16)
  v128.store(row, a2, 2 * ROW), v128.store(row, b2, 2 * ROW + 16)
  v128.store(row, a3, 3 * ROW), v128.store(row, b3, 3 * ROW + 16)
}

/** Prunes columns g..g+3 of the tile by their kept flags, each updating the next ones; returns sum + Σ err². */
// @ts-ignore: decorator
@inline
function settleFour(
  tile: usize, g: i32, R: usize, W0: usize, removed: usize, stride: usize, diagonal: usize, sum: v128,
): v128 {
  const R0 = R + (<usize>g << 7) + (<usize>g << 2)
  const u01 = v128.load_splat<f32>(R0, 4), u02 = v128.load_splat<f32>(R0, 8), u03 = v128.load_splat<f32>(R0, 12)
  const u12 = v128.load_splat<f32>(R0, 136), u13 = v128.load_splat<f32>(R0, 140), u23 = v128.load_splat<f32>(R0, 268)
  const Z1 = W0 + stride, Z2 = Z1 + stride, Z3 = Z2 + stride
  const X1 = removed + stride, X2 = X1 + stride, X3 = X2 + stride
  const M = diagonal + (<usize>g << 2)
  for (let h: usize = 0; h < ROW; h += 16) {
    const t = tile + <usize>g * ROW + h
    const d0 = settle(t, v128.load(t), W0 + h, removed + h)
    const d1 = settle(t + ROW, f32x4.sub(v128.load(t, ROW), f32x4.mul(u01, d0)), Z1 + h, X1 + h)
    let w = f32x4.sub(v128.load(t, 2 * ROW), f32x4.mul(u02, d0))
    const d2 = settle(t + 2 * ROW, f32x4.sub(w, f32x4.mul(u12, d1)), Z2 + h, X2 + h)
    w = f32x4.sub(v128.load(t, 3 * ROW), f32x4.mul(u03, d0))
    w = f32x4.sub(w, f32x4.mul(u13, d1))
    const d3 = settle(t + 3 * ROW, f32x4.sub(w, f32x4.mul(u23, d2)), Z3 + h, X3 + h)
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
function settleOne(tile: usize, g: i32, W0: usize, removed: usize, diagonal: usize, sum: v128): v128 {
  const M = v128.load_splat<f32>(diagonal + (<usize>g << 2))
  for (let h: usize = 0; h < ROW; h += 16) {
    const t = tile + <usize>g * ROW + h
    const d = settle(t, v128.load(t), W0 + h, removed + h)
    sum = f32x4.add(sum, square(d, M))
  }
  return sum
}

/** Finishes 4 outputs of a column with current weights w, at tile address t; returns the removed part d. */
// @ts-ignore: decorator
@inline
function settle(t: usize, w: v128, W0: usize, removed: usize): v128 {
  const keep = v128.load(t, KEEP)
  const kept = v128.and(w, keep)
  const d = v128.andnot(w, keep)
  v128.store(W0, f32x4.sub(v128.load(W0), kept))
  v128.store(removed, d)
  v128.store(t, d, GONE)
  return d
}

/** err² of 4 outputs: err = d / U_jj = d · M_jj. */
// @ts-ignore: decorator
@inline
function square(d: v128, M: v128): v128 {
  const e = f32x4.mul(d, M)
  return f32x4.mul(e, e)
}

/** The kept flags of a tile as one word per output, `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function packBits(tile: usize, rows: i32, mask: usize, stride: usize): void {
  for (let h: usize = 0; h < ROW; h += 16) {
    let words = i32x4.splat(0)
    let keep = tile + KEEP + <usize>(rows - 1) * ROW + h
    // Last column first, shifted up by every earlier one; a kept flag is −1.
    for (let r = 0; r < rows; r++, keep -= ROW) words = i32x4.sub(i32x4.shl(words, 1), v128.load(keep))
    store<i32>(mask, i32x4.extract_lane(words, 0))
    store<i32>(mask + stride, i32x4.extract_lane(words, 1))
    store<i32>(mask + 2 * stride, i32x4.extract_lane(words, 2))
    store<i32>(mask + 3 * stride, i32x4.extract_lane(words, 3))
    mask += 4 * stride
  }
}

/** Kept flags of the tile's columns [g, g + m): all but the n lowest |w|·M_jj per output, ties to the lowest column. */
function keepHighest(tile: usize, g: i32, n: i32, m: i32, diagonal: usize): void {
  const lowest = i32x4.splat(n)
  const first = tile + <usize>g * ROW
  for (let h: usize = 0; h < ROW; h += 16)
    for (let i = 0; i < m; i++) {
      const s = scoreOf(first + h, i, g, diagonal)
      let rank = i32x4.splat(0)
      for (let j = 0; j < i; j++) rank = i32x4.sub(rank, f32x4.le(scoreOf(first + h, j, g, diagonal), s))
      for (let j = i + 1; j < m; j++) rank = i32x4.sub(rank, f32x4.lt(scoreOf(first + h, j, g, diagonal), s))
      v128.store(first + KEEP + <usize>i * ROW + h, i32x4.ge_s(rank, lowest))
    }
}

// @ts-ignore: decorator
@inline
function scoreOf(column0: usize, i: i32, g: i32, diagonal: usize): v128 {
  return f32x4.abs(f32x4.mul(v128.load(column0 + <usize>i * ROW), v128.load_splat<f32>(diagonal + (<usize>(g + i) << 2))))
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
