// Transposes between rows of W (out, in) and the (in, out) layout of the solver, in vectors of 4 x 4: `rows` and `cols`
// are rounded up by the caller, both sides have room. Strides are in floats.

/**
 * D (cols, ldd) = S (rows, lds) transposed. Returns 0, or NaN when an entry of S is not finite.
 * A few rows of W at a time: they stay in cache while their columns are spread over the rows of D.
 */
export function loadTransposed(S: usize, rows: i32, cols: i32, lds: i32, D: usize, ldd: i32): f32 {
  const ss = <usize>lds << 2
  const sd = <usize>ldd << 2
  const zero = f32x4.splat(0)
  let check = zero
  for (let j = 0; j < cols; j += 4) {
    let s = S + (<usize>j << 2)
    let d = D + <usize>j * sd
    for (let i = 0; i < rows; i += 4, s += 4 * ss, d += 16) {
      const r0 = v128.load(s), r1 = v128.load(s + ss), r2 = v128.load(s + 2 * ss), r3 = v128.load(s + 3 * ss)
      // x · 0 is 0 for finite x and NaN otherwise.
      check = f32x4.add(check, f32x4.mul(zero, r0))
      check = f32x4.add(check, f32x4.mul(zero, r1))
      check = f32x4.add(check, f32x4.mul(zero, r2))
      check = f32x4.add(check, f32x4.mul(zero, r3))
      const p0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), p1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7)
      const p2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), p3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7)
      v128.store(d, v128.shuffle<f32>(p0, p2, 0, 1, 4, 5))
      v128.store(d + sd, v128.shuffle<f32>(p0, p2, 2, 3, 6, 7))
      v128.store(d + 2 * sd, v128.shuffle<f32>(p1, p3, 0, 1, 4, 5))
      v128.store(d + 3 * sd, v128.shuffle<f32>(p1, p3, 2, 3, 6, 7))
    }
  }
  return sumOf(check)
}

/** S (rows, lds) −= D (cols, ldd) transposed. */
export function subtractTransposed(S: usize, rows: i32, cols: i32, lds: i32, D: usize, ldd: i32): void {
  const ss = <usize>lds << 2
  const sd = <usize>ldd << 2
  for (let j = 0; j < cols; j += 4) {
    let s = S + (<usize>j << 2)
    let d = D + <usize>j * sd
    for (let i = 0; i < rows; i += 4, s += 4 * ss, d += 16) {
      const r0 = v128.load(d), r1 = v128.load(d + sd), r2 = v128.load(d + 2 * sd), r3 = v128.load(d + 3 * sd)
      const p0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), p1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7)
      const p2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), p3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7)
      subtract(s, v128.shuffle<f32>(p0, p2, 0, 1, 4, 5))
      subtract(s + ss, v128.shuffle<f32>(p0, p2, 2, 3, 6, 7))
      subtract(s + 2 * ss, v128.shuffle<f32>(p1, p3, 0, 1, 4, 5))
      subtract(s + 3 * ss, v128.shuffle<f32>(p1, p3, 2, 3, 6, 7))
    }
  }
}

/** Set bits of `words` 32-bit words. */
export function countBits(at: usize, words: i32): i32 {
  let bits = 0
  for (const end = at + (<usize>words << 2); at < end; at += 4) bits += popcnt(load<i32>(at))
  return bits
}

// @ts-ignore: decorator
@inline
function subtract(s: usize, d: v128): void {
  v128.store(s, f32x4.sub(v128.load(s), d))
}

// @ts-ignore: decorator
@inline
function sumOf(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  )
}
