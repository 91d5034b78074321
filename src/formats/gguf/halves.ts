import { fromF16 } from '../../tensor/half.ts'

/**
 * Decodes `blocks` blocks at `src[at]` into `out[to]` and on. Scales are float16 with 11 significant bits and quants have
 * at most 8, so every product is exact in a double and the store into `out` rounds once, as float32 code does that
 * multiplies before it adds.
 */
export type BlockDecoder = (src: Uint8Array, at: number, blocks: number, out: Float32Array, to: number) => void

/** float32 of every float16 by its bits; one scale is looked up for 16 to 256 weights. */
const HALVES = fromF16(Uint16Array.from({ length: 65536 }, (_, bits) => bits))

/** The float16 at two little-endian bytes. */
export function halfAt(src: Uint8Array, at: number): number {
  return HALVES[src[at] | (src[at + 1] << 8)]
}
