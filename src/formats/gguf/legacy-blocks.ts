import type { BlockDecoder } from './halves.ts'
import { halfAt } from './halves.ts'

// Blocks of 32 weights (ggml-common.h, block_q4_0 and on). Byte i of `qs` holds weights i (low half) and i + 16.

/** d (f16), qs (16): w = d · (q − 8). */
export const decodeQ40: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 18, to += 32) {
    const d = halfAt(src, at)
    for (let i = 0; i < 16; i++) {
      const byte = src[at + 2 + i]
      out[to + i] = d * ((byte & 15) - 8)
      out[to + i + 16] = d * ((byte >> 4) - 8)
    }
  }
}

/** d (f16), m (f16), qs (16): w = d · q + m. */
export const decodeQ41: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 20, to += 32) {
    const d = halfAt(src, at)
    const m = halfAt(src, at + 2)
    for (let i = 0; i < 16; i++) {
      const byte = src[at + 4 + i]
      out[to + i] = d * (byte & 15) + m
      out[to + i + 16] = d * (byte >> 4) + m
    }
  }
}

/** d (f16), qh (32 bits: the fifth bits), qs (16): w = d · (q − 16). */
export const decodeQ50: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 22, to += 32) {
    const d = halfAt(src, at)
    for (let i = 0; i < 16; i++) {
      const byte = src[at + 6 + i]
      out[to + i] = d * (((byte & 15) | (fifthBit(src, at + 2, i) << 4)) - 16)
      out[to + i + 16] = d * (((byte >> 4) | (fifthBit(src, at + 2, i + 16) << 4)) - 16)
    }
  }
}

/** d (f16), m (f16), qh (32 bits), qs (16): w = d · q + m. */
export const decodeQ51: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 24, to += 32) {
    const d = halfAt(src, at)
    const m = halfAt(src, at + 2)
    for (let i = 0; i < 16; i++) {
      const byte = src[at + 8 + i]
      out[to + i] = d * ((byte & 15) | (fifthBit(src, at + 4, i) << 4)) + m
      out[to + i + 16] = d * ((byte >> 4) | (fifthBit(src, at + 4, i + 16) << 4)) + m
    }
  }
}

/** d (f16), qs (32 × int8): w = d · q. */
export const decodeQ80: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 34, to += 32) {
    const d = halfAt(src, at)
    for (let i = 0; i < 32; i++) out[to + i] = d * ((src[at + 2 + i] << 24) >> 24)
  }
}

function fifthBit(src: Uint8Array, at: number, i: number): number {
  return (src[at + (i >> 3)] >> (i & 7)) & 1
}
