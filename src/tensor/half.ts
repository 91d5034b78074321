/** Conversions between float32 and the two 16-bit floats, exact and with round to nearest even.
 *  Halves are held as their bit patterns in a Uint16Array: Node 20 has no Float16Array. */

/** float32 bits of every float16, indexed by its bit pattern; 256 KiB, in the L2 cache of any current processor. */
const F16_TO_F32 = widenedTable()

/** float16 (n) → float32 (n), exact. Throws RangeError when `out` has another length. */
export function fromF16(src: Uint16Array, out: Float32Array = new Float32Array(src.length)): Float32Array {
  assertLength(src.length, out.length, 'float16 → float32')
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < bits.length; i++) bits[i] = F16_TO_F32[src[i]]
  return out
}

/** bfloat16 (n) → float32 (n), exact. Throws RangeError when `out` has another length. */
export function fromBf16(src: Uint16Array, out: Float32Array = new Float32Array(src.length)): Float32Array {
  assertLength(src.length, out.length, 'bfloat16 → float32')
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < bits.length; i++) bits[i] = src[i] << 16
  return out
}

/**
 * float32 (n) → float16 (n), round to nearest even; from 65520 on ±Inf, below 2⁻²⁵ ±0, NaN stays NaN. Throws RangeError
 * when `out` has another length.
 */
export function toF16(src: Float32Array, out: Uint16Array = new Uint16Array(src.length)): Uint16Array {
  assertLength(src.length, out.length, 'float32 → float16')
  const bits = new Uint32Array(src.buffer, src.byteOffset, src.length)
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]
    const sign = (b >>> 16) & 0x8000
    const a = b & 0x7fffffff
    if (a >= 0x38800000 && a < 0x47800000) {
      // Normal in both formats: move the exponent bias from 127 to 15; a carry out of the mantissa may reach Inf.
      out[i] = sign | ((a - 0x38000000 + 0xfff + ((a >>> 13) & 1)) >>> 13)
    } else if (a < 0x38800000) {
      // Below 2⁻¹⁴ a float16 is a multiple of 2⁻²⁴, and adding 2⁵² to a double rounds it to an integer, ties to even.
      out[i] = sign | (Math.abs(src[i]) * 16777216 + 4503599627370496 - 4503599627370496)
    } else {
      out[i] = sign | (a > 0x7f800000 ? 0x7e00 : 0x7c00)
    }
  }
  return out
}

/**
 * float32 (n) → bfloat16 (n), round to nearest even; NaN stays NaN. Throws RangeError when `out` has another length.
 */
export function toBf16(src: Float32Array, out: Uint16Array = new Uint16Array(src.length)): Uint16Array {
  assertLength(src.length, out.length, 'float32 → bfloat16')
  const bits = new Uint32Array(src.buffer, src.byteOffset, src.length)
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]
    // Rounding a NaN could carry into Inf: set its quiet bit instead.
    out[i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16
  }
  return out
}

function widenedTable(): Uint32Array {
  const table = new Uint32Array(65536)
  const one = new Float32Array(1)
  const oneBits = new Uint32Array(one.buffer)
  for (let h = 0; h < 65536; h++) {
    const exponent = (h >>> 10) & 31
    const mantissa = h & 1023
    const sign = (h & 0x8000) << 16
    if (exponent === 31) table[h] = sign | 0x7f800000 | (mantissa << 13)
    else if (exponent > 0) table[h] = sign | ((exponent + 112) << 23) | (mantissa << 13)
    else {
      one[0] = mantissa * 2 ** -24
      table[h] = sign | oneBits[0]
    }
  }
  return table
}

function assertLength(from: number, to: number, what: string): void {
  if (from !== to) throw new RangeError(`Cannot convert ${what}: got room for ${to} numbers, need ${from}`)
}
