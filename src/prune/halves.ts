import { SolverError } from '../errors.ts'
import { fromBf16, fromF16, toBf16, toF16 } from '../tensor/half.ts'

/** A 16-bit float that weights are stored as. */
export type HalfType = 'f16' | 'bf16'

const F16_MAX = 65504
/** The largest finite bf16. */
const BF16_MAX = 3.3895313892515355e38

/** Bits of some weights as 16-bit floats (nearest even); weights other than 0 that become 0 are counted. */
export type HalfBits = { readonly bits: Uint16Array; readonly underflows: number }

/** Rounds weights to f16 or bf16. One beyond the range is a SolverError, `name` says where. */
export function halvesOf(weights: Float32Array, type: HalfType, name: string): HalfBits {
  const most = type === 'f16' ? F16_MAX : BF16_MAX
  // bf16 has the exponents of f32: nothing but the smallest subnormal numbers is lost.
  const least = type === 'f16' ? 2 ** -25 : 2 ** -134
  let underflows = 0
  for (let i = 0; i < weights.length; i++) {
    const w = Math.abs(weights[i]!)
    if (!(w <= most))
      throw new SolverError(`Cannot store a weight of ${name}: ${weights[i]} does not fit ${type} (at most ${most})`)
    if (w !== 0 && w <= least) underflows++
  }
  return { bits: type === 'f16' ? toF16(weights) : toBf16(weights), underflows }
}

/** The weights that some bits stand for. */
export function fromHalves(bits: Uint16Array, type: HalfType): Float32Array {
  return type === 'f16' ? fromF16(bits) : fromBf16(bits)
}
