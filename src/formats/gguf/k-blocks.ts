import type { BlockDecoder } from './halves.ts'
import { halfAt } from './halves.ts'

// Super-blocks of 256 weights (ggml-common.h, block_q2_K and on): sub-blocks of 16 or 32 have small integer scales, which
// share a float16 or two.

/** scales (16: scale low, minimum high), qs (64), d, dmin (f16): w = d·sc·q − dmin·m, sub-blocks of 16. */
export const decodeQ2K: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 84, to += 256) {
    const d = halfAt(src, at + 80)
    const dmin = halfAt(src, at + 82)
    for (let s = 0; s < 16; s++) {
      const scale = d * (src[at + s] & 15)
      const minimum = dmin * (src[at + s] >> 4)
      const from = at + 16 + (s >> 3) * 32 + (s & 1) * 16
      const shift = s & 6
      for (let i = 0; i < 16; i++) out[to + s * 16 + i] = scale * ((src[from + i] >> shift) & 3) - minimum
    }
  }
}

/** hmask (32), qs (64), scales (12: 16 of 6 bits), d (f16): w = d·(sc − 32)·(q − 4 where the mask's bit is 0). */
export const decodeQ3K: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 110, to += 256) {
    const d = halfAt(src, at + 108)
    for (let s = 0; s < 16; s++) {
      const low = (src[at + 96 + (s & 7)] >> (s & 8 ? 4 : 0)) & 15
      const high = (src[at + 104 + (s & 3)] >> ((s >> 2) * 2)) & 3
      const scale = d * ((low | (high << 4)) - 32)
      const from = at + 32 + (s >> 3) * 32 + (s & 1) * 16
      const mask = at + (s & 1) * 16
      const shift = s & 6
      const bit = s >> 1
      for (let i = 0; i < 16; i++) {
        const q = (src[from + i] >> shift) & 3
        out[to + s * 16 + i] = scale * (q - (1 - ((src[mask + i] >> bit) & 1)) * 4)
      }
    }
  }
}

/** d, dmin (f16), scales (12: 8 scales and 8 minima of 6 bits), qs (128): w = d·sc·q − dmin·m, sub-blocks of 32. */
export const decodeQ4K: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 144, to += 256) {
    const d = halfAt(src, at)
    const dmin = halfAt(src, at + 2)
    for (let s = 0; s < 8; s++) {
      const scale = d * sixBitScale(src, at + 4, s)
      const minimum = dmin * sixBitMinimum(src, at + 4, s)
      const from = at + 16 + (s >> 1) * 32
      const shift = (s & 1) * 4
      for (let i = 0; i < 32; i++) out[to + s * 32 + i] = scale * ((src[from + i] >> shift) & 15) - minimum
    }
  }
}

/** As Q4_K with a fifth bit of every weight in qh (32), bit s of byte i: d, dmin, scales (12), qh (32), qs (128). */
export const decodeQ5K: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 176, to += 256) {
    const d = halfAt(src, at)
    const dmin = halfAt(src, at + 2)
    for (let s = 0; s < 8; s++) {
      const scale = d * sixBitScale(src, at + 4, s)
      const minimum = dmin * sixBitMinimum(src, at + 4, s)
      const from = at + 48 + (s >> 1) * 32
      const shift = (s & 1) * 4
      for (let i = 0; i < 32; i++) {
        const q = ((src[from + i] >> shift) & 15) | (((src[at + 16 + i] >> s) & 1) << 4)
        out[to + s * 32 + i] = scale * q - minimum
      }
    }
  }
}

/** ql (128), qh (64), scales (16 × int8), d (f16): w = d·sc·(q − 32), sub-blocks of 16. */
export const decodeQ6K: BlockDecoder = (src, at, blocks, out, to) => {
  for (let b = 0; b < blocks; b++, at += 210, to += 256) {
    const d = halfAt(src, at + 208)
    for (let s = 0; s < 16; s++) {
      const scale = d * ((src[at + 192 + s] << 24) >> 24)
      // Half of the block (128 weights), quarter of that half (32), side of that quarter (16).
      const [half, quarter, side] = [s >> 3, (s >> 1) & 3, s & 1]
      const low = at + half * 64 + (quarter & 1) * 32 + side * 16
      const lowShift = (quarter >> 1) * 4
      const high = at + 128 + half * 32 + side * 16
      const highShift = quarter * 2
      for (let i = 0; i < 16; i++) {
        const q = ((src[low + i] >> lowShift) & 15) | (((src[high + i] >> highShift) & 3) << 4)
        out[to + s * 16 + i] = scale * (q - 32)
      }
    }
  }
}

/** Scale s of 8, packed in 12 bytes with the minima. */
function sixBitScale(src: Uint8Array, at: number, s: number): number {
  return s < 4 ? src[at + s] & 63 : (src[at + s + 4] & 15) | ((src[at + s - 4] >> 6) << 4)
}

function sixBitMinimum(src: Uint8Array, at: number, s: number): number {
  return s < 4 ? src[at + s + 4] & 63 : (src[at + s + 4] >> 4) | ((src[at + s] >> 6) << 4)
}
