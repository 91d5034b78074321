import { IntegrityError } from '../errors.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'

/** Shape of an expert stack in an artifact. */
export type StackShape = { readonly experts: number; readonly outputs: number; readonly rowBytes: number }

/**
 * Shape of the stack `base` ('model.layers.0.mlp.gate_proj.experts'), after checking types and shapes of its tensors.
 * Throws IntegrityError where they do not belong together, FormatError when one is missing.
 */
export function stackShape(store: TensorStore, base: string): StackShape {
  const [mask, values, offsets] = ['mask', 'values', 'row_offsets'].map((part) => store.get(`${base}.${part}`))
  const [experts, outputs, rowBytes] = mask!.shape
  const sound =
    mask!.dtype === 'U8' &&
    mask!.shape.length === 3 &&
    values!.dtype === 'F16' &&
    values!.shape.length === 1 &&
    values!.shape[0]! >= 1 &&
    offsets!.dtype === 'I64' &&
    offsets!.shape.join() === `${experts},${outputs}`
  if (!sound)
    throw new IntegrityError(
      `Expert stack "${base}" is damaged: got mask ${mask!.dtype} [${mask!.shape.join(', ')}], values ${values!.dtype} ` +
        `[${values!.shape.join(', ')}], row_offsets ${offsets!.dtype} [${offsets!.shape.join(', ')}], expected ` +
        'U8 [E, N, ⌈K/8⌉], F16 [1 + kept], I64 [E, N]',
    )
  return { experts: experts!, outputs: outputs!, rowBytes: rowBytes! }
}

/**
 * The dense weights (outputs, inputs) of one expert, decoded from docs/formats.md without a look at how they are
 * written. Every row is checked: offsets against the bits before it, padding bits against 0.
 * Throws IntegrityError naming expert and row.
 */
export function decodeExpert(store: TensorStore, base: string, expert: number, inputs: number): Float32Array {
  const { experts, outputs, rowBytes } = stackShape(store, base)
  if (expert < 0 || expert >= experts || rowBytes !== Math.ceil(inputs / 8))
    throw new RangeError(`Cannot decode "${base}" expert ${expert} of ${experts} with ${inputs} inputs: wrong shape`)
  const maskBytes = outputs * rowBytes
  const mask = store.readBytes(`${base}.mask`, expert * maskBytes, (expert + 1) * maskBytes)
  const offsetBytes = outputs * 8
  const offsets = new BigInt64Array(
    store.readBytes(`${base}.row_offsets`, expert * offsetBytes, (expert + 1) * offsetBytes).buffer,
  )
  const kept = mask.reduce((sum, byte) => sum + bitCount(byte), 0)
  const first = Number(offsets[0])
  const available = store.get(`${base}.values`).shape[0]! - 1
  if (first < 0 || first + kept > available)
    throw new IntegrityError(
      `Expert stack "${base}" is damaged: expert ${expert} needs values ${first} to ${first + kept}, there are ${available}`,
    )
  const values = new Uint16Array(store.readBytes(`${base}.values`, 2 * (1 + first), 2 * (1 + first + kept)).buffer)
  const W = new Float32Array(outputs * inputs)
  let next = 0
  for (let row = 0; row < outputs; row++) {
    if (Number(offsets[row]) !== first + next)
      throw new IntegrityError(
        `Expert stack "${base}" is damaged: row_offsets of expert ${expert} row ${row} is ${offsets[row]}, ` +
          `the bits before it count ${first + next}`,
      )
    for (let k = 0; k < rowBytes * 8; k++) {
      if (!((mask[row * rowBytes + (k >> 3)]! >> (k & 7)) & 1)) continue
      if (k >= inputs)
        throw new IntegrityError(`Expert stack "${base}" is damaged: expert ${expert} row ${row} has a padding bit set`)
      W[row * inputs + k] = halfToNumber(values[next++]!)
    }
  }
  return W
}

function bitCount(byte: number): number {
  let count = 0
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++
  return count
}

/** IEEE 754 binary16 bits to a number. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}
