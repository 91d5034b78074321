// Scales of the integer grid: one per output for a group of columns.
import { inverseOf, rounded, roundedToHalf } from './grid'

/** Kept weights of four outputs and at most 128 columns. */
const STAGE: usize = memory.data(128 * 16, 16)

/**
 * scales[o] = the f16 number whose grid {−limit … limit} · scale is nearest to the weights of output o that are kept:
 * of the candidates (widest − t · step) · max|w| / limit, 0 ≤ t < tries, the first with the lowest Σ ((w − q)·M_jj)².
 *
 *   W        (rows, ld) current weights; at most 128 rows unless there is one candidate
 *   scores   (rows, ld): kept where score > threshold; 0: all are kept
 *   diagonal M_jj = 1 / U_jj of the columns
 */
export function chooseScales(
  W: usize, scores: usize, threshold: f32, rows: i32, ld: i32, diagonal: usize,
  limit: f32, widest: f32, tries: i32, step: f32, scales: usize,
): void {
  const stride = <usize>ld << 2
  for (let o: usize = 0; o < stride; o += 16) {
    let largest = f32x4.splat(0)
    let stage = STAGE
    for (let r = 0, at = o; r < rows; r++, at += stride) {
      const w = keptOf(W + at, scores, at, threshold)
      largest = f32x4.max(largest, f32x4.abs(w))
      if (tries > 1) v128.store(stage, w), (stage += 16)
    }
    const full = f32x4.div(largest, f32x4.splat(limit))
    let best = roundedToHalf(f32x4.mul(full, f32x4.splat(widest)))
    let lowest = f32x4.splat(<f32>Infinity)
    for (let t = 0; t < tries && tries > 1; t++) {
      const scale = roundedToHalf(f32x4.mul(full, f32x4.splat(widest - <f32>t * step)))
      const error = stagedError(scale, rows, diagonal, limit)
      best = v128.bitselect(scale, best, f32x4.lt(error, lowest))
      lowest = f32x4.min(error, lowest)
    }
    v128.store(scales + o, best)
  }
}

/** Σ ((w − q)·M_jj)² of the staged weights. */
// @ts-ignore: decorator
@inline
function stagedError(scale: v128, rows: i32, diagonal: usize, limit: f32): v128 {
  const inverse = inverseOf(scale)
  let error = f32x4.splat(0)
  for (let at = STAGE, end = STAGE + (<usize>rows << 4); at < end; at += 16, diagonal += 4) {
    const w = v128.load(at)
    const e = f32x4.mul(f32x4.sub(w, rounded(w, scale, inverse, limit)), v128.load_splat<f32>(diagonal))
    error = f32x4.add(error, f32x4.mul(e, e))
  }
  return error
}

/** Four weights of a column, 0 where they are not kept. */
// @ts-ignore: decorator
@inline
function keptOf(w: usize, scores: usize, at: usize, threshold: f32): v128 {
  if (scores == 0) return v128.load(w)
  return v128.and(v128.load(w), f32x4.gt(v128.load(scores + at), f32x4.splat(threshold)))
}
