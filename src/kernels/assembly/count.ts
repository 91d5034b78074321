// Streaming histograms: counting the outputs of a neuron, two at a time, into the bins of src/entangle/grid.ts.

const LINEAR_LIMIT: f64 = 4
const PER_UNIT: f64 = 1024
const LINEAR_BINS: i32 = 8192
const TAIL_BINS: i32 = 1280
/** Bits of a float32 that do not tell tail bins apart, and the bits of 4 without them. */
const TAIL_SHIFT: i32 = 16
const TAIL_ORIGIN: i32 = 0x40800000 >>> TAIL_SHIFT

// @ts-ignore: decorator
@inline
function increment(C: usize, bin: i32): void {
  const at = C + (<usize>bin << 2)
  store<i32>(at, load<i32>(at) + 1)
}

/** binOf() of grid.ts, for any z. */
function countAnywhere(C: usize, z: f64): void {
  if (z > -LINEAR_LIMIT && z < LINEAR_LIMIT) {
    increment(C, TAIL_BINS + <i32>((z + LINEAR_LIMIT) * PER_UNIT))
    return
  }
  const bits = <i32>(reinterpret<u32>(<f32>abs(z)) >>> TAIL_SHIFT)
  const tail = min(bits - TAIL_ORIGIN, TAIL_BINS - 1)
  increment(C, z >= LINEAR_LIMIT ? TAIL_BINS + LINEAR_BINS + tail : TAIL_BINS - 1 - tail)
}

// @ts-ignore: decorator
@inline
function countOne(C: usize, bin: i32, z: f64): void {
  if (<u32>bin < <u32>LINEAR_BINS) increment(C, TAIL_BINS + bin)
  else countAnywhere(C, z)
}

/**
 * V (n) f32: with z = (v − centre) · inverse, adds one to the bin of each z in C (BINS) i32, and Σz, Σz², Σz³, Σz⁴ to
 * S (4) f64.
 */
export function countValues(n: i32, V: usize, centre: f64, inverse: f64, C: usize, S: usize): void {
  const centres = f64x2.splat(centre)
  const inverses = f64x2.splat(inverse)
  // The linear part of binOf() with one multiplication and one addition.
  const factors = f64x2.splat(inverse * PER_UNIT)
  const offsets = f64x2.splat(LINEAR_LIMIT * PER_UNIT - centre * (inverse * PER_UNIT))
  let s1 = f64x2.splat(0)
  let s2 = s1
  let s3 = s1
  let s4 = s1
  for (let at = V, end = V + ((<usize>n >> 1) << 3); at < end; at += 8) {
    const v = f64x2.promote_low_f32x4(v128.load64_zero(at))
    const bins = i32x4.trunc_sat_f64x2_s_zero(f64x2.floor(f64x2.add(f64x2.mul(v, factors), offsets)))
    const z = f64x2.mul(f64x2.sub(v, centres), inverses)
    const square = f64x2.mul(z, z)
    s1 = f64x2.add(s1, z)
    s2 = f64x2.add(s2, square)
    s3 = f64x2.add(s3, f64x2.mul(square, z))
    s4 = f64x2.add(s4, f64x2.mul(square, square))
    countOne(C, i32x4.extract_lane(bins, 0), f64x2.extract_lane(z, 0))
    countOne(C, i32x4.extract_lane(bins, 1), f64x2.extract_lane(z, 1))
  }
  if (n & 1) {
    const v = <f64>load<f32>(V + (<usize>(n - 1) << 2))
    const z = (v - centre) * inverse
    s1 = f64x2.replace_lane(s1, 0, f64x2.extract_lane(s1, 0) + z)
    s2 = f64x2.replace_lane(s2, 0, f64x2.extract_lane(s2, 0) + z * z)
    s3 = f64x2.replace_lane(s3, 0, f64x2.extract_lane(s3, 0) + z * z * z)
    s4 = f64x2.replace_lane(s4, 0, f64x2.extract_lane(s4, 0) + z * z * (z * z))
    countAnywhere(C, z)
  }
  addLanes(S, s1)
  addLanes(S + 8, s2)
  addLanes(S + 16, s3)
  addLanes(S + 24, s4)
}

// @ts-ignore: decorator
@inline
function addLanes(at: usize, sum: v128): void {
  store<f64>(at, load<f64>(at) + (f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1)))
}
