import { FormatError } from '../errors.ts'
import { breathe } from '../formats/breathe.ts'
import type { TensorInfo, TensorStore } from '../formats/safetensors/reader.ts'

/** Bytes looked at at once. */
const PIECE_BYTES = 1 << 23

/**
 * Looks at every float weight of a model, one read of its files. What is NaN or infinite there would reach hidden states,
 * and be told of as something else, or (a row of the embedding that no text uses) reach the artifact. Throws FormatError
 * naming the tensor, whose name has the layer, and the element.
 */
export async function assertFiniteWeights(weights: TensorStore): Promise<void> {
  for (const info of weights.tensors.values())
    for (let at = 0; at < info.byteLength; at += PIECE_BYTES) {
      const bytes = weights.readBytes(info.name, at, Math.min(at + PIECE_BYTES, info.byteLength))
      const bad = firstBad(bytes, info)
      if (bad !== undefined) throw notFinite(info, at, bad)
      await breathe()
    }
}

/** The first element whose exponent is all ones: NaN or infinity. */
function firstBad({ buffer }: Uint8Array<ArrayBuffer>, { dtype }: TensorInfo): number | undefined {
  switch (dtype) {
    case 'F32':
      return found(new Uint32Array(buffer), 0x7f800000)
    case 'BF16':
      return found(new Uint16Array(buffer), 0x7f80)
    case 'F16':
      return found(new Uint16Array(buffer), 0x7c00)
    case 'F64': {
      const bad = new Float64Array(buffer).findIndex((value) => !Number.isFinite(value))
      return bad < 0 ? undefined : bad
    }
    default:
      return undefined
  }
}

function found(bits: Uint32Array | Uint16Array, exponent: number): number | undefined {
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & exponent) === exponent) return i
  return undefined
}

const ELEMENT_BYTES: Readonly<Partial<Record<string, number>>> = { F64: 8, F32: 4, F16: 2, BF16: 2 }

function notFinite({ name, file, dtype }: TensorInfo, at: number, index: number): FormatError {
  const element = at / ELEMENT_BYTES[dtype]! + index
  return new FormatError(
    `Cannot use tensor "${name}" of ${file}: element ${element} is NaN or infinite, expected finite numbers only: ` +
      'take a sound copy of the model',
  )
}
