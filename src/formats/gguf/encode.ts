import { toBf16, toF16 } from '../../tensor/half.ts'
import type { KindName } from './kinds.ts'

/** Kinds that numbers can be written as. */
export type WrittenKind = Extract<KindName, 'F32' | 'F16' | 'BF16' | 'Q8_0'>

const BLOCK = 32
const BLOCK_BYTES = 34

/** Whole rows of numbers as the bytes of a kind; of Q8_0 the length is a multiple of 32. Rounding to F16 may give Inf. */
export function encodeNumbers(kind: WrittenKind, W: Float32Array): Uint8Array {
  switch (kind) {
    case 'F32':
      return bytesOf(W)
    case 'F16':
      return bytesOf(toF16(W))
    case 'BF16':
      return bytesOf(toBf16(W))
    case 'Q8_0':
      return encodeQ80(W)
  }
}

/**
 * Q8_0: blocks of 32 weights as d (f16) and 32 × int8, d = max|w| / 127 (ggml-quants.c, quantize_row_q8_0_ref): the numbers
 * are rounded by d before it is rounded to f16.
 */
function encodeQ80(W: Float32Array): Uint8Array {
  const blocks = W.length / BLOCK
  const out = new Uint8Array(blocks * BLOCK_BYTES)
  const scales = new Float32Array(blocks)
  for (let b = 0; b < blocks; b++) {
    let largest = 0
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i++) largest = Math.max(largest, Math.abs(W[i]))
    scales[b] = largest / 127
    const inverse = scales[b] > 0 ? Math.fround(1 / scales[b]) : 0
    for (let i = 0; i < BLOCK; i++) out[b * BLOCK_BYTES + 2 + i] = awayFromZero(Math.fround(W[b * BLOCK + i] * inverse))
  }
  const halves = toF16(scales)
  for (let b = 0; b < blocks; b++) {
    out[b * BLOCK_BYTES] = halves[b] & 255
    out[b * BLOCK_BYTES + 1] = halves[b] >> 8
  }
  return out
}

/** C's roundf(): halves go away from zero. */
function awayFromZero(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5)
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}
