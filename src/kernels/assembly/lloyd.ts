// One Lloyd iteration of k-means: assignment and accumulation in a single pass over the points.

/** Best score and index of 16 centroids so far, for the two points in flight. */
let best0: f32 = 0
let best1: f32 = 0
let label0: i32 = 0
let label1: i32 = 0

/** Largest lane of four vectors, in every lane. */
// @ts-ignore: decorator
@inline
function largest(a: v128, b: v128, c: v128, d: v128): v128 {
  let m = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d))
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 2, 3, 0, 1))
  return f32x4.pmax(m, i32x4.shuffle(m, m, 1, 0, 3, 2))
}

/** Index of the first of 16 lanes that equals m: ties go to the lowest index. */
// @ts-ignore: decorator
@inline
function firstOf(m: v128, a: v128, b: v128, c: v128, d: v128): i32 {
  const mask =
    i32x4.bitmask(f32x4.eq(a, m)) |
    (i32x4.bitmask(f32x4.eq(b, m)) << 4) |
    (i32x4.bitmask(f32x4.eq(c, m)) << 8) |
    (i32x4.bitmask(f32x4.eq(d, m)) << 12)
  return ctz(mask)
}

/** Nearest of kPad centroids for the points at x0 and x1, by the largest x·c − ‖c‖²/2: 2 points x 16 centroids in registers. */
// @ts-ignore: decorator
@inline
function nearest(x0: usize, x1: usize, dim: i32, kPad: i32, T: usize, B: usize): void {
  best0 = -Infinity
  best1 = -Infinity
  label0 = 0
  label1 = 0
  const row = <usize>kPad << 2
  for (let k0 = 0; k0 < kPad; k0 += 16) {
    const at = <usize>k0 << 2
    let a0 = v128.load(B + at)
    let a1 = v128.load(B + at, 16)
    let a2 = v128.load(B + at, 32)
    let a3 = v128.load(B + at, 48)
    let b0 = a0
    let b1 = a1
    let b2 = a2
    let b3 = a3
    let t = T + at
    for (let j: usize = 0, end = <usize>dim << 2; j < end; j += 4) {
      const p = v128.load32_splat(x0 + j)
      const q = v128.load32_splat(x1 + j)
      let c = v128.load(t)
      a0 = f32x4.add(a0, f32x4.mul(p, c))
      b0 = f32x4.add(b0, f32x4.mul(q, c))
      c = v128.load(t, 16)
      a1 = f32x4.add(a1, f32x4.mul(p, c))
      b1 = f32x4.add(b1, f32x4.mul(q, c))
      c = v128.load(t, 32)
      a2 = f32x4.add(a2, f32x4.mul(p, c))
      b2 = f32x4.add(b2, f32x4.mul(q, c))
      c = v128.load(t, 48)
      a3 = f32x4.add(a3, f32x4.mul(p, c))
      b3 = f32x4.add(b3, f32x4.mul(q, c))
      t += row
    }
    const m0 = largest(a0, a1, a2, a3)
    const m1 = largest(b0, b1, b2, b3)
    // NaN compares false and leaves the label alone; the caller sees it in the inertia.
    if (f32x4.extract_lane(m0, 0) > best0) {
      best0 = f32x4.extract_lane(m0, 0)
      label0 = k0 + firstOf(m0, a0, a1, a2, a3)
    }
    if (f32x4.extract_lane(m1, 0) > best1) {
      best1 = f32x4.extract_lane(m1, 0)
      label1 = k0 + firstOf(m1, b0, b1, b2, b3)
    }
  }
}

/** Adds the point at x to the float64 sum at s; returns its squared distance to the centroid at c. */
// @ts-ignore: decorator
@inline
function accumulate(x: usize, c: usize, s: usize, stride: i32): f64 {
  let squares = f32x4.splat(0)
  for (let j: usize = 0, end = <usize>stride << 2; j < end; j += 16) {
    const p = v128.load(x + j)
    const d = f32x4.sub(p, v128.load(c + j))
    squares = f32x4.add(squares, f32x4.mul(d, d))
    const at = s + (j << 1)
    v128.store(at, f64x2.add(v128.load(at), f64x2.promote_low_f32x4(p)))
    v128.store(at, f64x2.add(v128.load(at, 16), f64x2.promote_low_f32x4(i32x4.shuffle(p, p, 2, 3, 2, 3))), 16)
  }
  return (
    (<f64>f32x4.extract_lane(squares, 0) + <f64>f32x4.extract_lane(squares, 1)) +
    (<f64>f32x4.extract_lane(squares, 2) + <f64>f32x4.extract_lane(squares, 3))
  )
}

/**
 * X (n, stride) f32, columns from dim on are zero, stride a multiple of 4 · T (dim, kPad) the centroids transposed, kPad a
 * multiple of 16 · B (kPad) = −‖c‖²/2, −Infinity where there is no centroid · C (k, stride) the centroids.
 * Writes labels u8 (n); adds to sums f64 (k, stride), counts i32 (k) and the f64 at inertia. Returns how many labels
 * differ from those found in `labels`.
 */
export function lloydStep(
  n: i32, dim: i32, stride: i32, kPad: i32,
  X: usize, T: usize, B: usize, C: usize,
  labels: usize, sums: usize, counts: usize, inertia: usize,
): i32 {
  const row = <usize>stride << 2
  let changed = 0
  let total: f64 = 0
  for (let i = 0; i < n; i += 2) {
    const x0 = X + <usize>i * row
    const odd = i + 1 < n
    const x1 = odd ? x0 + row : x0
    nearest(x0, x1, dim, kPad, T, B)
    const k0 = label0
    const k1 = label1
    changed += i32(<i32>load<u8>(labels + i) != k0)
    store<u8>(labels + i, <u8>k0)
    store<i32>(counts + (<usize>k0 << 2), load<i32>(counts + (<usize>k0 << 2)) + 1)
    total += accumulate(x0, C + <usize>k0 * row, sums + ((<usize>k0 * row) << 1), stride)
    if (!odd) break
    changed += i32(<i32>load<u8>(labels + i, 1) != k1)
    store<u8>(labels + i, <u8>k1, 1)
    store<i32>(counts + (<usize>k1 << 2), load<i32>(counts + (<usize>k1 << 2)) + 1)
    total += accumulate(x1, C + <usize>k1 * row, sums + ((<usize>k1 * row) << 1), stride)
  }
  store<f64>(inertia, load<f64>(inertia) + total)
  return changed
}
