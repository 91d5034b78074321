/** Rotary position embedding: base, and how the frequencies are stretched for long contexts. */
export type Rope =
  | { readonly type: 'default'; readonly theta: number }
  | {
      readonly type: 'llama3'
      readonly theta: number
      readonly factor: number
      readonly lowFreqFactor: number
      readonly highFreqFactor: number
      readonly originalMaxPositions: number
    }

/**
 * Angle per position of each rotated pair, shape (headDim / 2): theta^(-2j/headDim) (Su et al. 2021, RoFormer), for
 * `llama3` stretched by wavelength: short waves stay, long ones are divided by `factor`, those between are blended
 * (Llama 3.1). Rounded to float32 where the published code rounds, since angles at far positions depend on it.
 */
export function inverseFrequencies(rope: Rope, headDim: number): Float32Array {
  const frequencies = new Float32Array(headDim / 2)
  for (let j = 0; j < frequencies.length; j++) frequencies[j] = 1 / Math.fround(rope.theta ** ((2 * j) / headDim))
  return rope.type === 'llama3' ? frequencies.map((f) => stretched(f, rope)) : frequencies
}

function stretched(frequency: number, rope: Extract<Rope, { type: 'llama3' }>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = rope
  const wavelength = (2 * Math.PI) / frequency
  if (wavelength > originalMaxPositions / lowFreqFactor) return frequency / factor
  if (wavelength < originalMaxPositions / highFreqFactor) return frequency
  const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
  return ((1 - smooth) * frequency) / factor + smooth * frequency
}
