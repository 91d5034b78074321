import { createRng } from '../../src/linalg/rng.ts'

/** Numbers to fill weights with; every request gives other ones, because onnxruntime keeps equal weights once. */
export type Pool = {
  /** Uniform in [−0.5, 0.5). */
  floats(count: number): Float32Array
  /** Any bytes. */
  bytes(count: number): Uint8Array
  /** Bytes whose bits are 1 with the probability that the pool was made for. */
  bits(count: number): Uint8Array
}

const SIZE = 2 ** 20
/** Copied at a time, from a random place of the pool. */
const CHUNK = 2 ** 14

/** A seeded pool whose bits are 1 with a probability of `density`. */
export function createPool(seed: number, density: number): Pool {
  const rng = createRng(seed)
  const floats = Float32Array.from({ length: SIZE }, () => rng.uniform() - 0.5)
  const bytes = Uint8Array.from({ length: SIZE }, () => rng.uniform() * 256)
  const bits = Uint8Array.from({ length: SIZE }, () => {
    let byte = 0
    for (let b = 0; b < 8; b++) byte |= Number(rng.uniform() < density) << b
    return byte
  })
  const fill = <A extends Float32Array | Uint8Array>(out: A, pool: A): A => {
    for (let at = 0; at < out.length; at += CHUNK) {
      const from = Math.floor(rng.uniform() * (SIZE - CHUNK))
      out.set(pool.subarray(from, from + Math.min(CHUNK, out.length - at)), at)
    }
    return out
  }
  return {
    floats: (count) => fill(new Float32Array(count), floats),
    bytes: (count) => fill(new Uint8Array(count), bytes),
    bits: (count) => fill(new Uint8Array(count), bits),
  }
}
