// The exact k-th smallest score of a column block, without sorting: non-negative floats order like their bits, so two
// histograms (upper 16 bits, then the lower 15 of the one bin that holds rank k) find it in two passes.

/** Bits of a float's pattern that the second histogram resolves. */
const LOW_BITS: i32 = 15
const LOW_MASK: i32 = (1 << LOW_BITS) - 1

/**
 * Writes the scores |w|·M_jj (the square root of SparseGPT's w²/U_jj², U = M⁻¹, equation 5 of arXiv 2301.00774: the same
 * order, but no overflow) of `rows` columns of W, each a contiguous row of `outs` (a multiple of 4), and returns the
 * score of rank k (0-based). `bins` has room for 65536 counters; `diagonal` holds M_jj.
 */
export function scoreAndSelect(
  W: usize, scores: usize, rows: i32, outs: i32, diagonal: usize, k: i32, bins: usize,
): f32 {
  memory.fill(bins, 0, 65536 << 2)
  let at: usize = 0
  for (let r = 0; r < rows; r++) {
    const m = v128.load_splat<f32>(diagonal + (<usize>r << 2))
    for (let end = at + (<usize>outs << 2); at < end; at += 16) {
      const s = f32x4.abs(f32x4.mul(m, v128.load(W + at)))
      v128.store(scores + at, s)
      // bin · 4 bytes = (bits >> 15) << 2
      const b = v128.and(i32x4.shr_u(s, LOW_BITS - 2), i32x4.splat(0x3fffc))
      count(bins + <usize>i32x4.extract_lane(b, 0))
      count(bins + <usize>i32x4.extract_lane(b, 1))
      count(bins + <usize>i32x4.extract_lane(b, 2))
      count(bins + <usize>i32x4.extract_lane(b, 3))
    }
  }
  let bin = 0
  for (;; bin++) {
    const c = load<i32>(bins + (<usize>bin << 2))
    if (k < c) break
    k -= c
  }
  return reinterpret<f32>((bin << LOW_BITS) | selectLow(scores, at, bin, k, bins))
}

/** The low bits of the score of rank k among those whose upper bits are `bin`. */
function selectLow(scores: usize, bytes: usize, bin: i32, k: i32, bins: usize): i32 {
  memory.fill(bins, 0, <usize>(LOW_MASK + 1) << 2)
  const wanted = i32x4.splat(bin)
  for (let at: usize = 0; at < bytes; at += 16) {
    const s = v128.load(scores + at)
    if (!v128.any_true(i32x4.eq(i32x4.shr_u(s, LOW_BITS), wanted))) continue
    for (let lane: usize = 0; lane < 16; lane += 4) {
      const bits = load<i32>(scores + at + lane)
      if (bits >>> LOW_BITS == bin) count(bins + (<usize>(bits & LOW_MASK) << 2))
    }
  }
  let low = 0
  for (;; low++) {
    const c = load<i32>(bins + (<usize>low << 2))
    if (k < c) return low
    k -= c
  }
  return low
}

// @ts-ignore: decorator
@inline
function count(counter: usize): void {
  store<i32>(counter, load<i32>(counter) + 1)
}
