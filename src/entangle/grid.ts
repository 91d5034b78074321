/**
 * The bins of a streaming histogram, for z = (y − centre) / scale: width 1/1024 where |z| < 4, beyond it 128 bins to every
 * doubling up to 4096. Centre and scale are guesses made before the data are seen: what they miss costs resolution, and
 * distance.ts says how much.
 */
export const LINEAR_LIMIT = 4
export const PER_UNIT = 1024
export const LINEAR_BINS = 2 * LINEAR_LIMIT * PER_UNIT
const MANTISSA_BITS = 7
const OCTAVES = 10
export const TAIL_BINS = OCTAVES << MANTISSA_BITS
/** Bits of a float32 from 4 on, shifted so that one step is one tail bin. */
const TAIL_SHIFT = 23 - MANTISSA_BITS
const TAIL_ORIGIN = 0x40800000 >>> TAIL_SHIFT // the bits of 4

/** Bins: the negative tail (far end first), the linear part, the positive tail. */
export const BINS = LINEAR_BINS + 2 * TAIL_BINS

const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** Lower edges of all bins and the upper edge of the last, (BINS + 1), in units of z. */
export const EDGES: Float64Array = edges()

function edges(): Float64Array {
  const all = new Float64Array(BINS + 1)
  for (let b = 0; b <= LINEAR_BINS; b++) all[TAIL_BINS + b] = b / PER_UNIT - LINEAR_LIMIT
  for (let t = 1; t <= TAIL_BINS; t++) {
    bits[0] = (TAIL_ORIGIN + t) << TAIL_SHIFT
    all[TAIL_BINS + LINEAR_BINS + t] = float[0]!
    all[TAIL_BINS - t] = -float[0]!
  }
  return all
}
