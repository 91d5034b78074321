// Triangular kernels for one diagonal block of H. Everything is row-major with a row stride of `ld` floats, a multiple
// of 4; rows are processed in vectors of 4, so up to 3 entries right of the diagonal are overwritten: with values that
// nothing reads in factorBlock, with zeros in invertBlock.
//
// H = M Mᵀ with M UPPER triangular is what the solver wants (then U = M⁻¹ has UᵀU = H⁻¹). With N = Mᵀ this is
// S = NᵀN, N lower triangular: finished from the last row up, every step touches contiguous prefixes of rows.

/** dst[0..length) −= Σ_q c_q · row_q[0..length), rows `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function subtractRank8(
  dst: usize, src: usize, stride: usize, length: i32,
  c0: v128, c1: v128, c2: v128, c3: v128, c4: v128, c5: v128, c6: v128, c7: v128,
): void {
  const s1 = src + stride, s2 = s1 + stride, s3 = s2 + stride
  const s4 = s3 + stride, s5 = s4 + stride, s6 = s5 + stride, s7 = s6 + stride
  const end = <usize>length << 2
  for (let j: usize = 0; j < end; j += 16) {
    let a = v128.load(dst + j)
    a = f32x4.sub(a, f32x4.mul(c0, v128.load(src + j)))
    a = f32x4.sub(a, f32x4.mul(c1, v128.load(s1 + j)))
    a = f32x4.sub(a, f32x4.mul(c2, v128.load(s2 + j)))
    a = f32x4.sub(a, f32x4.mul(c3, v128.load(s3 + j)))
    a = f32x4.sub(a, f32x4.mul(c4, v128.load(s4 + j)))
    a = f32x4.sub(a, f32x4.mul(c5, v128.load(s5 + j)))
    a = f32x4.sub(a, f32x4.mul(c6, v128.load(s6 + j)))
    a = f32x4.sub(a, f32x4.mul(c7, v128.load(s7 + j)))
    v128.store(dst + j, a)
  }
}

/** dst[0..length) −= c · src[0..length). */
// @ts-ignore: decorator
@inline
function subtractRank1(dst: usize, src: usize, length: i32, c: v128): void {
  const end = <usize>length << 2
  for (let j: usize = 0; j < end; j += 16)
    v128.store(dst + j, f32x4.sub(v128.load(dst + j), f32x4.mul(c, v128.load(src + j))))
}

/** row[0..length) ·= factor. */
// @ts-ignore: decorator
@inline
function scale(row: usize, length: i32, factor: f32): void {
  const c = f32x4.splat(factor)
  const end = <usize>length << 2
  for (let j: usize = 0; j < end; j += 16) v128.store(row + j, f32x4.mul(c, v128.load(row + j)))
}

/**
 * Overwrites the lower triangle of S (n, n) with N, S = NᵀN. Returns −1, or the row of the first pivot that is not a
 * positive finite number (that pivot is then left in S[row, row]).
 */
export function factorBlock(S: usize, n: i32, ld: i32): i32 {
  const stride = <usize>ld << 2
  for (let end = n; end > 0; ) {
    // The top block takes the remainder, so that all trailing updates are of rank 8.
    const begin = end > 8 ? end - 8 : 0
    for (let k = end - 1; k >= begin; k--) {
      const row = S + <usize>k * stride
      const pivot = load<f32>(row + (<usize>k << 2))
      if (!(pivot > 0) || pivot == Infinity) return k
      scale(row, k + 1, <f32>1 / sqrt(pivot))
      for (let i = begin; i < k; i++)
        subtractRank1(S + <usize>i * stride, row, i + 1, v128.load_splat<f32>(row + (<usize>i << 2)))
    }
    const src = S + <usize>begin * stride
    for (let i = 0; i < begin; i++) {
      const c = src + (<usize>i << 2)
      subtractRank8(
        S + <usize>i * stride, src, stride, i + 1,
        v128.load_splat<f32>(c), v128.load_splat<f32>(c + stride),
        v128.load_splat<f32>(c + 2 * stride), v128.load_splat<f32>(c + 3 * stride),
        v128.load_splat<f32>(c + 4 * stride), v128.load_splat<f32>(c + 5 * stride),
        v128.load_splat<f32>(c + 6 * stride), v128.load_splat<f32>(c + 7 * stride),
      )
    }
    end = begin
  }
  return -1
}

/** Y = N⁻¹ for a lower triangular N (n, n); the strict upper triangle of Y is set to 0. */
export function invertBlock(N: usize, Y: usize, n: i32, ld: i32): void {
  const stride = <usize>ld << 2
  memory.fill(Y, 0, <usize>n * stride)
  for (let begin = 0; begin < n; begin += 8) {
    const end = min(begin + 8, n)
    for (let i = begin; i < end; i++) {
      const row = Y + <usize>i * stride
      const coefficients = N + <usize>i * stride
      for (let q = begin; q < i; q++)
        subtractRank1(row, Y + <usize>q * stride, q + 1, v128.load_splat<f32>(coefficients + (<usize>q << 2)))
      const inverse: f32 = <f32>1 / load<f32>(coefficients + (<usize>i << 2))
      scale(row, i, inverse)
      store<f32>(row + (<usize>i << 2), inverse)
    }
    const src = Y + <usize>begin * stride
    for (let k = end; k < n; k++) {
      const c = N + <usize>k * stride + (<usize>begin << 2)
      subtractRank8(
        Y + <usize>k * stride, src, stride, end,
        v128.load_splat<f32>(c), v128.load_splat<f32>(c, 4), v128.load_splat<f32>(c, 8), v128.load_splat<f32>(c, 12),
        v128.load_splat<f32>(c, 16), v128.load_splat<f32>(c, 20), v128.load_splat<f32>(c, 24), v128.load_splat<f32>(c, 28),
      )
    }
  }
}

/** Z = Y · diag(Y)⁻¹, columns scaled to a unit diagonal, for a lower triangular Y (n, n). */
export function scaleToUnit(Y: usize, Z: usize, n: i32, ld: i32): void {
  const stride = <usize>ld << 2
  const one = f32x4.splat(1)
  for (let j = 0; j < n; j += 4) {
    const at = <usize>j << 2
    const first = Y + <usize>j * stride + at
    let diagonal = f32x4.replace_lane(one, 0, load<f32>(first))
    if (j + 1 < n) diagonal = f32x4.replace_lane(diagonal, 1, load<f32>(first + stride, 4))
    if (j + 2 < n) diagonal = f32x4.replace_lane(diagonal, 2, load<f32>(first + 2 * stride, 8))
    if (j + 3 < n) diagonal = f32x4.replace_lane(diagonal, 3, load<f32>(first + 3 * stride, 12))
    for (let k = j; k < n; k++) {
      const row = <usize>k * stride + at
      v128.store(Z + row, f32x4.div(v128.load(Y + row), diagonal))
    }
  }
}
