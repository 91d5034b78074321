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
  const found = find(bins, k)
  const bin = <i32>(found >> 32)
  return reinterpret<f32>((bin << LOW_BITS) | selectLow(scores, at, bin, <i32>found, bins))
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
  return <i32>(find(bins, k) >> 32)
}

/** The bin that holds rank k, in the upper half of the result, and the rank within it, in the lower half. */
function find(bins: usize, k: i32): i64 {
  let at = bins
  // Whole groups of 16 counters first: most of the 65536 are empty.
  for (;; at += 64) {
    const low = i32x4.add(v128.load(at), v128.load(at, 16))
    const sums = i32x4.add(low, i32x4.add(v128.load(at, 32), v128.load(at, 48)))
    const pairs = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 0, 1))
    const c = i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1)
    if (k < c) break
    k -= c
  }
  for (; k >= load<i32>(at); at += 4) k -= load<i32>(at)
  return ((<i64>((at - bins) >> 2)) << 32) | <i64>k
}

// @ts-ignore: decorator
@inline
function count(counter: usize): void {
  store<i32>(counter, load<i32>(counter) + 1)
}
