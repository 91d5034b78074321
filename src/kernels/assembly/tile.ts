// What a tile of 16 outputs is made of: up to 32 columns of current weights, kept flags and removed parts in scratch memory.

/** Outputs of one tile; all row lengths are multiples of it. */
export const TILE: i32 = 16
export const ROW: usize = <usize>TILE << 2
/** Scratch of one tile, 32 rows each: current weights, kept flags, removed parts d. */
export const KEEP: usize = 32 * ROW
export const GONE: usize = 64 * ROW

/** Kept flags of columns [g, g + count): score > cut. */
// @ts-ignore: decorator
@inline
export function markAbove(tile: usize, g: i32, count: i32, scores: usize, stride: usize, cut: v128): void {
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
export function advance(
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

/** err² of 4 outputs: err = d / U_jj = d · M_jj. */
// @ts-ignore: decorator
@inline
export function square(d: v128, M: v128): v128 {
  const e = f32x4.mul(d, M)
  return f32x4.mul(e, e)
}

/** The kept flags of a tile as one word per output, `stride` bytes apart. */
// @ts-ignore: decorator
@inline
export function packBits(tile: usize, rows: i32, mask: usize, stride: usize): void {
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
export function keepHighest(tile: usize, g: i32, n: i32, m: i32, diagonal: usize): void {
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
