import type { TensorSource } from '../../../export/shards.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { decodeExpert } from '../../verify/decode.ts'
import type { StoredType } from '../../verify/stack.ts'
import { stackShape } from '../../verify/stack.ts'
import { rounded } from './rounded.ts'

/** Element types of weights in a file. 'exact' is the smallest that holds what the artifact says, bit for bit. */
export const WEIGHT_TYPES = ['exact', 'f16', 'bf16', 'f32'] as const
export type WeightType = (typeof WEIGHT_TYPES)[number]

const DTYPES = { f16: 'F16', bf16: 'BF16', f32: 'F32' } as const
/** A whole number times an f16 scale has more bits than a half. */
const EXACT = { f16: 'f16', bf16: 'bf16', int8: 'f32', int4: 'f32' } as const satisfies Record<StoredType, WeightType>

/** Which dense matrix is wanted of a stack. */
export type DenseForm = {
  readonly inputs: number
  readonly transposed: boolean
  readonly type: WeightType
  /** @default 0 */
  readonly expert?: number
  /** @default the name of the dense matrix that was pruned */
  readonly name?: string
}

/** The element type in which a stack is written. */
export function writtenType(store: TensorStore, base: string, type: WeightType): 'F16' | 'BF16' | 'F32' {
  return DTYPES[type === 'exact' ? EXACT[stackShape(store, base).type] : type]
}

/**
 * The weight of an expert of the stack `base` ('….gate_proj.experts') as a dense matrix with its zeros, (out, in) or
 * transposed. It is decoded when its first bytes are read, and kept until its last ones are.
 * Throws UnsupportedError for a weight that `type` cannot hold, when it is read.
 */
export function denseWeight(store: TensorStore, base: string, form: DenseForm): TensorSource {
  const { inputs, transposed, type, expert = 0 } = form
  const { outputs } = stackShape(store, base)
  const dtype = writtenType(store, base, type)
  const name = form.name ?? `${base.replace(/\.experts$/, '')}.weight`
  let bytes: Uint8Array | undefined
  return {
    name,
    dtype,
    shape: transposed ? [inputs, outputs] : [outputs, inputs],
    read(start, end) {
      if (bytes === undefined) {
        const W = decodeExpert(store, base, expert, inputs)
        bytes = rounded(transposed ? transpose(W, outputs, inputs) : W, dtype, name)
      }
      const piece = bytes.subarray(start, end)
      if (end === bytes.byteLength) bytes = undefined
      return piece
    },
  }
}

function transpose(W: Float32Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(W.length)
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = W[i * cols + j]!
  return out
}
