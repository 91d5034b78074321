import type { TensorSource } from '../../../export/shards.ts'
import { UnsupportedError } from '../../errors.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { toBf16, toF16 } from '../../tensor/half.ts'
import { decodeExpert } from '../../verify/decode.ts'
import type { StoredType } from '../../verify/stack.ts'
import { stackShape } from '../../verify/stack.ts'

/** Element types of weights in a file. 'exact' is the smallest that holds what the artifact says, bit for bit. */
export const WEIGHT_TYPES = ['exact', 'f16', 'bf16', 'f32'] as const
export type WeightType = (typeof WEIGHT_TYPES)[number]

const DTYPES = { f16: 'F16', bf16: 'BF16', f32: 'F32' } as const
/** A whole number times an f16 scale has more bits than a half. */
const EXACT = { f16: 'f16', bf16: 'bf16', int8: 'f32', int4: 'f32' } as const satisfies Record<StoredType, WeightType>

/**
 * The weight of the stack `base` ('….gate_proj.experts', of one expert) as a dense matrix with its zeros, (out, in) or
 * transposed. It is decoded when its first bytes are read, and kept until its last ones are.
 * Throws UnsupportedError for a weight that `type` cannot hold, when it is read.
 */
export function denseWeight(
  store: TensorStore,
  base: string,
  { inputs, transposed, type }: { readonly inputs: number; readonly transposed: boolean; readonly type: WeightType },
): TensorSource {
  const { outputs, type: stored } = stackShape(store, base)
  const target = type === 'exact' ? EXACT[stored] : type
  const name = `${base.replace(/\.experts$/, '')}.weight`
  let bytes: Uint8Array | undefined
  return {
    name,
    dtype: DTYPES[target],
    shape: transposed ? [inputs, outputs] : [outputs, inputs],
    read(start, end) {
      bytes ??= encoded(decodeExpert(store, base, 0, inputs), outputs, inputs, { transposed, target, name })
      const piece = bytes.subarray(start, end)
      if (end === bytes.byteLength) bytes = undefined
      return piece
    },
  }
}

function encoded(
  W: Float32Array,
  outputs: number,
  inputs: number,
  { transposed, target, name }: { transposed: boolean; target: keyof typeof DTYPES; name: string },
): Uint8Array {
  const laid = transposed ? transpose(W, outputs, inputs) : W
  if (target === 'f32') return new Uint8Array(laid.buffer, laid.byteOffset, laid.byteLength)
  const bits = target === 'f16' ? toF16(laid) : toBf16(laid)
  // All exponent bits set: the weights themselves are finite.
  const infinite = target === 'f16' ? 0x7c00 : 0x7f80
  const at = bits.findIndex((half) => (half & infinite) === infinite)
  if (at >= 0)
    throw new UnsupportedError(`Cannot write "${name}" as ${target}: weight ${at} is ${laid[at]}: use f32 or exact`)
  return new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength)
}

function transpose(W: Float32Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(W.length)
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = W[i * cols + j]!
  return out
}
