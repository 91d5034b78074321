// The column loop of SparseGPT on up to 32 columns of W. Columns are rows here: W is kept (in, out), and every output is
// independent of the others, so a tile of 32 columns x 16 outputs (2 kB) is copied out, pruned in registers and written
// back. The copy matters: rows of 4096 floats lie a power of two apart and would evict each other from the cache.

/** Outputs of one tile; all row lengths are multiples of it. */
const TILE: i32 = 16
const ROW: usize = <usize>TILE << 2
/** Scratch of one tile: weights, then scores or kept flags (32 rows each), then the 16 mask words. */
const KEEP: usize = 32 * ROW
const BITS: usize = 64 * ROW

/**
 * Prunes `rows` ≤ 32 columns of W in order. Column j with masked part d_j = w_j where pruned, 0 elsewhere:
 * w_k −= d_j · R_jk for the later columns k, R_jk = U_jk / U_jj (the published err_j = d_j / U_jj times U_jk).
 *
 *   W        (rows, ld) in: current weights, out: pruned weights
 *   W0       (rows, ld) in: original weights, out: W0 − pruned weights
 *   removed  (rows, ld) out: d
 *   R        (32, 32) upper triangle
 *   scores   (rows, ld): kept where score > threshold (unstructured), unused when m is 2..32
 *   diagonal M_jj = 1 / U_jj
 *   mask     one 32-bit word per output, `maskStride` words apart: bit j = column j kept
 *   m, n     n of every m columns are pruned, chosen from the weights as they are when the group begins; 0 = by threshold
 *   scratch  4160 bytes
 *
 * Returns Σ err²: summed in f32 over the 32 columns of a tile, in f64 over tiles.
 */
export function eliminate(
  W: usize, W0: usize, removed: usize, rows: i32, ld: i32, R: usize,
  scores: usize, threshold: f32, diagonal: usize, n: i32, m: i32,
  mask: usize, maskStride: i32, scratch: usize,
): f64 {
  const stride = <usize>ld << 2
  const bytes = stride
  const cut = f32x4.splat(threshold)
  let loss: f64 = 0
  for (let o: usize = 0; o < bytes; o += ROW) {
    for (let r = 0; r < rows; r++) memory.copy(scratch + <usize>r * ROW, W + <usize>r * stride + o, ROW)
    memory.fill(scratch + BITS, 0, ROW)
    let sum = f32x4.splat(0)
    let g = 0
    while (g < rows) {
      if (m) {
        if (g % m == 0) keepHighest(scratch, g, n, m, diagonal)
      } else {
        const last = min(g + 4, rows)
        for (let r = g; r < last; r++)
          for (let h: usize = 0; h < ROW; h += 16)
            v128.store(
              scratch + KEEP + <usize>r * ROW + h,
              f32x4.gt(v128.load(scores + <usize>r * stride + o + h), cut),
            )
      }
      const at = <usize>g * stride + o
      if (rows - g >= 4 && m != 2) {
        for (let h: usize = 0; h < ROW; h += 32)
          sum = fourColumns(scratch + h, g, rows, R, diagonal, W + at + h, W0 + at + h, removed + at + h, stride, sum)
        g += 4
      } else {
        for (let h: usize = 0; h < ROW; h += 16)
          sum = oneColumn(scratch + h, g, rows, R, diagonal, W + at + h, W0 + at + h, removed + at + h, sum)
        g += 1
      }
    }
    for (let i: usize = 0; i < <usize>TILE; i++)
      store<u32>(mask + (((o >> 2) + i) * <usize>maskStride << 2), load<u32>(scratch + BITS + (i << 2)))
    loss += <f64>f32x4.extract_lane(sum, 0) + <f64>f32x4.extract_lane(sum, 1)
    loss += <f64>f32x4.extract_lane(sum, 2) + <f64>f32x4.extract_lane(sum, 3)
  }
  return loss
}

/** One column, 4 outputs: prune, record, and update every later column of the tile. */
// @ts-ignore: decorator
@inline
function oneColumn(
  tile: usize, g: i32, rows: i32, R: usize, diagonal: usize, W: usize, W0: usize, removed: usize, sum: v128,
): v128 {
  const row = tile + <usize>g * ROW
  const d = settle(v128.load(row), v128.load(row, KEEP), W, W0, removed, tile + BITS, 1 << g)
  const Rg = R + (<usize>g << 7)
  for (let k = g + 1; k < rows; k++) {
    const t = tile + <usize>k * ROW
    v128.store(t, f32x4.sub(v128.load(t), f32x4.mul(v128.load_splat<f32>(Rg + (<usize>k << 2)), d)))
  }
  const e = f32x4.mul(d, v128.load_splat<f32>(diagonal + (<usize>g << 2)))
  return f32x4.add(sum, f32x4.mul(e, e))
}

/** Four columns, 8 outputs: the triangle among them in registers, then one rank-4 update of the later columns. */
// @ts-ignore: decorator
@inline
function fourColumns(
  tile: usize, g: i32, rows: i32, R: usize, diagonal: usize, W: usize, W0: usize, removed: usize, stride: usize, sum: v128,
): v128 {
  const row = tile + <usize>g * ROW
  const R0 = R + (<usize>g << 7) + (<usize>g << 2)
  const bits = tile + BITS
  const bit = 1 << g
  let a1 = v128.load(row, ROW), b1 = v128.load(row, ROW + 16)
  let a2 = v128.load(row, 2 * ROW), b2 = v128.load(row, 2 * ROW + 16)
  let a3 = v128.load(row, 3 * ROW), b3 = v128.load(row, 3 * ROW + 16)
  const a0 = settle(v128.load(row), v128.load(row, KEEP), W, W0, removed, bits, bit)
  const b0 = settle(v128.load(row, 16), v128.load(row, KEEP + 16), W + 16, W0 + 16, removed + 16, bits + 16, bit)
  let u = v128.load_splat<f32>(R0, 4)
  a1 = f32x4.sub(a1, f32x4.mul(u, a0)), b1 = f32x4.sub(b1, f32x4.mul(u, b0))
  u = v128.load_splat<f32>(R0, 8)
  a2 = f32x4.sub(a2, f32x4.mul(u, a0)), b2 = f32x4.sub(b2, f32x4.mul(u, b0))
  u = v128.load_splat<f32>(R0, 12)
  a3 = f32x4.sub(a3, f32x4.mul(u, a0)), b3 = f32x4.sub(b3, f32x4.mul(u, b0))
  W += stride, W0 += stride, removed += stride
  a1 = settle(a1, v128.load(row, KEEP + ROW), W, W0, removed, bits, bit << 1)
  b1 = settle(b1, v128.load(row, KEEP + ROW + 16), W + 16, W0 + 16, removed + 16, bits + 16, bit << 1)
  u = v128.load_splat<f32>(R0, 128 + 8)
  a2 = f32x4.sub(a2, f32x4.mul(u, a1)), b2 = f32x4.sub(b2, f32x4.mul(u, b1))
  u = v128.load_splat<f32>(R0, 128 + 12)
  a3 = f32x4.sub(a3, f32x4.mul(u, a1)), b3 = f32x4.sub(b3, f32x4.mul(u, b1))
  W += stride, W0 += stride, removed += stride
  a2 = settle(a2, v128.load(row, KEEP + 2 * ROW), W, W0, removed, bits, bit << 2)
  b2 = settle(b2, v128.load(row, KEEP + 2 * ROW + 16), W + 16, W0 + 16, removed + 16, bits + 16, bit << 2)
  u = v128.load_splat<f32>(R0, 256 + 12)
  a3 = f32x4.sub(a3, f32x4.mul(u, a2)), b3 = f32x4.sub(b3, f32x4.mul(u, b2))
  W += stride, W0 += stride, removed += stride
  a3 = settle(a3, v128.load(row, KEEP + 3 * ROW), W, W0, removed, bits, bit << 3)
  b3 = settle(b3, v128.load(row, KEEP + 3 * ROW + 16), W + 16, W0 + 16, removed + 16, bits + 16, bit << 3)
  let r = R0 + 16
  for (let t = row + 4 * ROW, end = tile + <usize>rows * ROW; t < end; t += ROW, r += 4) {
    let a = v128.load(t), b = v128.load(t, 16)
    u = v128.load_splat<f32>(r)
    a = f32x4.sub(a, f32x4.mul(u, a0)), b = f32x4.sub(b, f32x4.mul(u, b0))
    u = v128.load_splat<f32>(r, 128)
    a = f32x4.sub(a, f32x4.mul(u, a1)), b = f32x4.sub(b, f32x4.mul(u, b1))
    u = v128.load_splat<f32>(r, 256)
    a = f32x4.sub(a, f32x4.mul(u, a2)), b = f32x4.sub(b, f32x4.mul(u, b2))
    u = v128.load_splat<f32>(r, 384)
    a = f32x4.sub(a, f32x4.mul(u, a3)), b = f32x4.sub(b, f32x4.mul(u, b3))
    v128.store(t, a), v128.store(t, b, 16)
  }
  const M = diagonal + (<usize>g << 2)
  sum = addSquares(sum, a0, b0, v128.load_splat<f32>(M))
  sum = addSquares(sum, a1, b1, v128.load_splat<f32>(M, 4))
  sum = addSquares(sum, a2, b2, v128.load_splat<f32>(M, 8))
  return addSquares(sum, a3, b3, v128.load_splat<f32>(M, 12))
}

/** Writes one vector of a finished column and its mask bit; returns the removed part d. */
// @ts-ignore: decorator
@inline
function settle(w: v128, keep: v128, W: usize, W0: usize, removed: usize, bits: usize, bit: i32): v128 {
  const kept = v128.and(w, keep)
  const d = v128.andnot(w, keep)
  v128.store(W, kept)
  v128.store(W0, f32x4.sub(v128.load(W0), kept))
  v128.store(removed, d)
  v128.store(bits, v128.or(v128.load(bits), v128.and(keep, i32x4.splat(bit))))
  return d
}

/** sum + (d·M)² over two vectors: err = d / U_jj = d · M_jj. */
// @ts-ignore: decorator
@inline
function addSquares(sum: v128, a: v128, b: v128, M: v128): v128 {
  const e = f32x4.mul(a, M), f = f32x4.mul(b, M)
  return f32x4.add(sum, f32x4.add(f32x4.mul(e, e), f32x4.mul(f, f)))
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
