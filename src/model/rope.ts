type Base = { readonly theta: number }

/** Rotary position embedding: base, and how the frequencies are stretched for long contexts. */
export type Rope =
  | ({ readonly type: 'default' } & Base)
  | ({ readonly type: 'linear'; readonly factor: number } & Base)
  | ({ readonly type: 'dynamic'; readonly factor: number; readonly originalMaxPositions: number } & Base)
  | ({
      readonly type: 'llama3'
      readonly factor: number
      readonly lowFreqFactor: number
      readonly highFreqFactor: number
      readonly originalMaxPositions: number
    } & Base)
  | ({
      readonly type: 'yarn'
      readonly factor: number
      readonly betaFast: number
      readonly betaSlow: number
      /** Whole dimensions bound the ramp. */
      readonly truncate: boolean
      readonly originalMaxPositions: number
      readonly attentionFactor: number
    } & Base)
  | ({
      readonly type: 'longrope'
      /** Divisors of the frequencies, (rotaryDim / 2), for sequences up to originalMaxPositions and for longer ones. */
      readonly shortFactor: readonly number[]
      readonly longFactor: readonly number[]
      readonly originalMaxPositions: number
      readonly attentionFactor: number
    } & Base)

/** What cosines and sines are multiplied by. */
export function rotaryScale(rope: Rope): number {
  return rope.type === 'yarn' || rope.type === 'longrope' ? rope.attentionFactor : 1
}

/**
 * Angle per position of each rotated pair, shape (dim / 2): theta^(-2j/dim) (Su et al. 2021, RoFormer), stretched by type
 * for a sequence of `length` tokens, as transformers does. `dynamic` and `longrope` depend on the length: short ones by
 * default. Rounded to float32 where the published code rounds, since angles at far positions depend on it.
 */
export function inverseFrequencies(rope: Rope, dim: number, length = 1): Float32Array {
  const plain = powers(rope.theta, dim)
  switch (rope.type) {
    case 'default':
      return plain
    case 'linear':
      return plain.map((f) => f / rope.factor)
    case 'dynamic':
      return powers(dynamicTheta(rope, dim, length), dim)
    case 'llama3':
      return plain.map((f) => byWavelength(f, rope))
    case 'yarn':
      return yarn(plain, rope, dim)
    case 'longrope': {
      const divisors = length > rope.originalMaxPositions ? rope.longFactor : rope.shortFactor
      return plain.map((f, j) => f / divisors[j]!)
    }
  }
}

/** Base for a sequence of `length` tokens: grows with what is beyond the trained positions ("NTK-aware" scaling). */
export function dynamicTheta(rope: Extract<Rope, { type: 'dynamic' }>, dim: number, length: number): number {
  const { theta, factor, originalMaxPositions } = rope
  const stretch = (factor * Math.max(length, originalMaxPositions)) / originalMaxPositions - (factor - 1)
  return theta * stretch ** (dim / (dim - 2))
}

function powers(theta: number, dim: number): Float32Array {
  return Float32Array.from({ length: dim / 2 }, (_, j) => 1 / Math.fround(theta ** ((2 * j) / dim)))
}

/** Short waves stay, long ones are divided by `factor`, those between are blended (Llama 3.1). */
function byWavelength(frequency: number, rope: Extract<Rope, { type: 'llama3' }>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = rope
  const wavelength = (2 * Math.PI) / frequency
  if (wavelength > originalMaxPositions / lowFreqFactor) return frequency / factor
  if (wavelength < originalMaxPositions / highFreqFactor) return frequency
  const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
  return ((1 - smooth) * frequency) / factor + smooth * frequency
}

/** The first dimensions stay, the last are divided by `factor`, a linear ramp between (Peng et al. 2023, YaRN, eq. 23). */
function yarn(plain: Float32Array, rope: Extract<Rope, { type: 'yarn' }>, dim: number): Float32Array {
  const { theta, factor, betaFast, betaSlow, truncate, originalMaxPositions } = rope
  const dimensionOf = (rotations: number): number =>
    (dim * Math.log(originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta))
  const [from, to] = [dimensionOf(betaFast), dimensionOf(betaSlow)]
  const low = Math.max(truncate ? Math.floor(from) : from, 0)
  const high = Math.min(truncate ? Math.ceil(to) : to, dim - 1)
  const width = low === high ? 0.001 : high - low
  return plain.map((f, j) => {
    const share = Math.min(Math.max((j - low) / width, 0), 1)
    return (f / factor) * share + f * (1 - share)
  })
}
