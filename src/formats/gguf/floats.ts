import type { BlockDecoder } from './halves.ts'
import { halfAt } from './halves.ts'

/** float32, as it is. */
export const decodeF32: BlockDecoder = (src, at, blocks, out, to) => {
  new Uint8Array(out.buffer, out.byteOffset + 4 * to, 4 * blocks).set(src.subarray(at, at + 4 * blocks))
}

/** float16, widened exactly. */
export const decodeF16: BlockDecoder = (src, at, blocks, out, to) => {
  for (let i = 0; i < blocks; i++) out[to + i] = halfAt(src, at + 2 * i)
}

/** bfloat16: the upper half of a float32. */
export const decodeBf16: BlockDecoder = (src, at, blocks, out, to) => {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < blocks; i++) bits[to + i] = (src[at + 2 * i] | (src[at + 2 * i + 1] << 8)) << 16
}
