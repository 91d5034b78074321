// Transposes between (out, in) weights and the (in, out) layout of the solver.

/**
 * T (cols, ldT) = A (rows, cols) transposed. rows is rounded up to a multiple of 4 by the caller (both buffers have
 * room); cols likewise; lda and ldT are strides in floats. Returns 0, or NaN when an entry of A is not finite.
 */
export function transposeBlock(A: usize, rows: i32, cols: i32, lda: i32, T: usize, ldT: i32): f32 {
  const sa = <usize>lda << 2
  const st = <usize>ldT << 2
  const zero = f32x4.splat(0)
  let check = zero
  // 16 rows of A fill whole cache lines of T before the next column group is read.
  for (let i0 = 0; i0 < rows; i0 += 16) {
    const i1 = min(i0 + 16, rows)
    for (let j = 0; j < cols; j += 4) {
      for (let i = i0; i < i1; i += 4) {
        const a = A + <usize>i * sa + (<usize>j << 2)
        const t = T + <usize>j * st + (<usize>i << 2)
        const r0 = v128.load(a), r1 = v128.load(a + sa), r2 = v128.load(a + 2 * sa), r3 = v128.load(a + 3 * sa)
        // x · 0 is 0 for finite x and NaN otherwise.
        check = f32x4.add(check, f32x4.mul(zero, r0))
        check = f32x4.add(check, f32x4.mul(zero, r1))
        check = f32x4.add(check, f32x4.mul(zero, r2))
        check = f32x4.add(check, f32x4.mul(zero, r3))
        const p0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), p1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7)
        const p2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), p3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7)
        v128.store(t, v128.shuffle<f32>(p0, p2, 0, 1, 4, 5))
        v128.store(t + st, v128.shuffle<f32>(p0, p2, 2, 3, 6, 7))
        v128.store(t + 2 * st, v128.shuffle<f32>(p1, p3, 0, 1, 4, 5))
        v128.store(t + 3 * st, v128.shuffle<f32>(p1, p3, 2, 3, 6, 7))
      }
    }
  }
  return f32x4.extract_lane(check, 0) + f32x4.extract_lane(check, 1) + f32x4.extract_lane(check, 2) + f32x4.extract_lane(check, 3)
}
