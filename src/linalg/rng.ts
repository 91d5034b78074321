/** A seeded source of random numbers: the same seed gives the same sequence on every machine. */
export type Rng = {
  /** Uniform integer in [0, 2³²). */
  uint32(): number
  /** Uniform in [0, 1), 53 random bits. */
  uniform(): number
  /** Standard normal. */
  normal(): number
  /** Uniform integer in [0, n), n a safe integer of at least 1. */
  integer(n: number): number
}

/**
 * sfc32 (Chris Doty-Humphrey's small fast counting generator, 128 bits of state, passes PractRand), its state filled by
 * splitmix32 from the seed, a safe integer.
 */
export function createRng(seed: number): Rng {
  let state = seed | 0
  const splitmix = (): number => {
    state = (state + 0x9e3779b9) | 0
    let z = state ^ (state >>> 16)
    z = Math.imul(z, 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return z ^ (z >>> 15)
  }
  let a = splitmix()
  let b = splitmix()
  let c = splitmix()
  let counter = (1 + Math.floor(seed / 2 ** 32)) | 0 // the upper half of the seed, so that it counts too
  const uint32 = (): number => {
    const t = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + t) | 0
    return t >>> 0
  }
  for (let i = 0; i < 12; i++) uint32()
  const uniform = (): number => ((uint32() >>> 5) * 67108864 + (uint32() >>> 6)) / 9007199254740992
  let spare: number | undefined
  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    // Marsaglia's polar method: two normals from a point inside the unit disc.
    for (;;) {
      const u = 2 * uniform() - 1
      const v = 2 * uniform() - 1
      const s = u * u + v * v
      if (s === 0 || s >= 1) continue
      const scale = Math.sqrt((-2 * Math.log(s)) / s)
      spare = v * scale
      return u * scale
    }
  }
  return { uint32, uniform, normal, integer: (n) => Math.floor(uniform() * n) }
}

/** Shuffles in place (Fisher and Yates): every order is equally likely. */
export function shuffle(values: Int32Array | number[], rng: Rng): void {
  for (let i = values.length - 1; i > 0; i--) {
    const j = rng.integer(i + 1)
    const held = values[i]
    values[i] = values[j]
    values[j] = held
  }
}

/** min(count, n) distinct integers of [0, n), ascending (selection sampling, Knuth's Algorithm S). */
export function sample(n: number, count: number, rng: Rng): Int32Array {
  const wanted = Math.min(count, n)
  const chosen = new Int32Array(wanted)
  let have = 0
  for (let i = 0; have < wanted; i++) if ((n - i) * rng.uniform() < wanted - have) chosen[have++] = i
  return chosen
}
