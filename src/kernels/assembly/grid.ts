// Rounding to a symmetric integer grid, four weights at a time.

/** scale · q, q the integer nearest to w / scale (ties to even) with |q| ≤ limit; `inverse` as inverseOf() gives it. */
// @ts-ignore: decorator
@inline
export function rounded(w: v128, scale: v128, inverse: v128, limit: f32): v128 {
  const q = f32x4.nearest(f32x4.mul(w, inverse))
  // pmax and pmin are one instruction where max and min are many: they differ in signed zeros and NaN only.
  const low = f32x4.pmax(q, f32x4.splat(-limit))
  return f32x4.mul(f32x4.pmin(low, f32x4.splat(limit)), scale)
}

/** 1 / scale, 0 where the scale is 0. */
// @ts-ignore: decorator
@inline
export function inverseOf(scale: v128): v128 {
  const one = f32x4.splat(1)
  return v128.and(f32x4.div(one, scale), f32x4.gt(scale, f32x4.splat(0)))
}

/**
 * Non-negative x rounded to f16 (nearest even), as f32. What f16 would make 0 becomes its smallest number, 2⁻²⁴, unless x
 * is 0; beyond the range of f16 the result stays a number above 65504.
 */
// @ts-ignore: decorator
@inline
export function roundedToHalf(x: v128): v128 {
  const even = v128.and(i32x4.shr_u(x, 13), i32x4.splat(1))
  const normal = v128.and(i32x4.add(x, i32x4.add(i32x4.splat(0xfff), even)), i32x4.splat(<i32>0xffffe000))
  // Below 2⁻¹⁴ halves are multiples of 2⁻²⁴, the distance of floats in [0.5, 1).
  const half = f32x4.splat(0.5)
  const least = v128.and(f32x4.splat(5.9604644775390625e-8), f32x4.gt(x, f32x4.splat(0)))
  const small = f32x4.max(f32x4.sub(f32x4.add(x, half), half), least)
  return v128.bitselect(small, normal, f32x4.lt(x, f32x4.splat(6.103515625e-5)))
}
