// The exact k-th smallest score of a column block, without sorting: non-negative floats order like their bits, so two
// histograms (upper 16 bits, then the lower 15 of the one bin that holds rank k) find it in two passes.

/** Bits of a float's pattern that the second histogram resolves. */
const LOW_BITS: i32 = 15
const LOW_MASK: i32 = (1 << LOW_BITS) - 1
const COUNTERS: usize = 65536

/** Sets the 65536 counters to 0. */
export function clearCounters(bins: usize): void {
  memory.fill(bins, 0, COUNTERS << 2)
}

/**
 * Writes the scores |w|·M_jj (the square root of SparseGPT's w²/U_jj², U = M⁻¹, equation 5 of arXiv 2301.00774: the same
 * order, but no overflow) of `rows` columns of W, each a contiguous row of `outs` (a multiple of 4), and counts them by
 * their upper bits. `diagonal` holds M_jj.
 */
export function scoreColumns(W: usize, scores: usize, rows: i32, outs: i32, diagonal: usize, bins: usize): void {
  let at: usize = 0
  for (let r = 0; r < rows; r++) {
    const m = v128.load_splat<f32>(diagonal + (<usize>r << 2))
    for (let end = at + (<usize>outs << 2); at < end; at += 16) {
      const s = f32x4.abs(f32x4.mul(m, v128.load(W + at)))
      v128.store(scores + at, s)
      // bin · 4 bytes = (bits >> 15) << 2
      const b = v128.and(i32x4.shr_u(s, LOW_BITS - 2), i32x4.splat(0x3fffc))
      increment(bins + <usize>i32x4.extract_lane(b, 0))
      increment(bins + <usize>i32x4.extract_lane(b, 1))
      increment(bins + <usize>i32x4.extract_lane(b, 2))
      increment(bins + <usize>i32x4.extract_lane(b, 3))
    }
  }
}

/** Counts the low bits of the `count` scores (a multiple of 4) whose upper bits are `bin`. */
export function countLowBits(scores: usize, count: i32, bin: i32, bins: usize): void {
  const wanted = i32x4.splat(bin)
  for (const end = scores + (<usize>count << 2); scores < end; scores += 16) {
    if (!v128.any_true(i32x4.eq(i32x4.shr_u(v128.load(scores), LOW_BITS), wanted))) continue
    for (let lane: usize = 0; lane < 16; lane += 4) {
      const bits = load<i32>(scores + lane)
      if (bits >>> LOW_BITS == bin) increment(bins + (<usize>(bits & LOW_MASK) << 2))
    }
  }
}

/** The counter that holds rank k (0-based) · 2³² + the rank within it. */
export function findRank(bins: usize, k: i32): f64 {
  let at = bins
  // Whole groups of 16 counters first: most are empty.
  for (;; at += 64) {
    const low = i32x4.add(v128.load(at), v128.load(at, 16))
    const sums = i32x4.add(low, i32x4.add(v128.load(at, 32), v128.load(at, 48)))
    const pairs = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 0, 1))
    const c = i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1)
    if (k < c) break
    k -= c
  }
  for (; k >= load<i32>(at); at += 4) k -= load<i32>(at)
  return <f64>((at - bins) >> 2) * 4294967296.0 + <f64>k
}

// @ts-ignore: decorator
@inline
function increment(counter: usize): void {
  store<i32>(counter, load<i32>(counter) + 1)
}
