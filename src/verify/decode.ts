import { IntegrityError } from '../errors.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'
import type { StackShape } from './stack.ts'
import { damaged, scaleIndex, stackShape } from './stack.ts'
import { readNumbers } from './stored-numbers.ts'

/**
 * The dense weights (outputs, inputs) of one expert, decoded from docs/formats.md without a look at how they are
 * written. Every row is checked: offsets against the bits before it, padding bits against 0; so are the zero before all
 * values, the end of the last expert, and scales.
 * Throws IntegrityError naming expert and row.
 */
export function decodeExpert(store: TensorStore, base: string, expert: number, inputs: number): Float32Array {
  const shape = stackShape(store, base)
  const { experts, outputs, rowBytes } = shape
  if (expert < 0 || expert >= experts || rowBytes !== Math.ceil(inputs / 8))
    throw new RangeError(`Cannot decode "${base}" expert ${expert} of ${experts} with ${inputs} inputs: wrong shape`)
  const maskBytes = outputs * rowBytes
  const mask = store.readBytes(`${base}.mask`, expert * maskBytes, (expert + 1) * maskBytes)
  const offsetBytes = outputs * 8
  const offsets = new BigInt64Array(
    store.readBytes(`${base}.row_offsets`, expert * offsetBytes, (expert + 1) * offsetBytes).buffer,
  )
  let kept = 0
  for (let i = 0; i < maskBytes; i++) kept += bitCount(mask[i]!)
  const first = Number(offsets[0])
  checkExtent(store, base, shape, expert, first, kept)
  const numbers = readNumbers(store, `${base}.values`, 1 + first, 1 + first + kept)
  const scales = scalesOf(store, base, shape, expert)
  const scaleOf = scaleIndex(store, base, shape, inputs)
  const W = new Float32Array(outputs * inputs)
  let next = 0
  for (let row = 0; row < outputs; row++) {
    if (Number(offsets[row]) !== first + next)
      throw damaged(
        base,
        `row_offsets of expert ${expert} row ${row} is ${offsets[row]}, the bits before it count ${first + next}`,
      )
    for (let b = 0; b < rowBytes; b++)
      for (let rest = mask[row * rowBytes + b]!; rest !== 0; rest &= rest - 1) {
        const k = 8 * b + 31 - Math.clz32(rest & -rest) // the lowest bit that is left
        if (k >= inputs) throw damaged(base, `expert ${expert} row ${row} has a padding bit set`)
        const number = numbers[next++]!
        W[row * inputs + k] = scales ? number * scales[row * shape.groups + scaleOf(k)]! : number
      }
  }
  return W
}

/** The values of an expert must lie inside the tensor, those of the first at its begin, those of the last at its end. */
function checkExtent(
  store: TensorStore,
  base: string,
  { experts, available, type }: StackShape,
  expert: number,
  first: number,
  kept: number,
): void {
  if (first < 0 || first + kept > available)
    throw damaged(base, `expert ${expert} needs values ${first} to ${first + kept}, there are ${available}`)
  if (expert === 0 && first !== 0) throw damaged(base, `expert 0 begins at value ${first}`)
  if (expert === 0 && readNumbers(store, `${base}.values`, 0, 1)[0] !== 0)
    throw damaged(base, 'the number before all values is not 0')
  if (expert < experts - 1) return
  // Of two numbers in the last byte the second may be unused; it is 0 then.
  const spare = available - first - kept
  const isSpareZero = spare === 0 || readNumbers(store, `${base}.values`, available, available + 1)[0] === 0
  if (spare > (type === 'int4' ? 1 : 0) || !isSpareZero)
    throw damaged(base, `its experts keep ${first + kept} weights, there are ${available} values`)
}

/** Scales (outputs, groups) of one expert; undefined where values are the weights themselves. */
function scalesOf(
  store: TensorStore,
  base: string,
  { outputs, groups }: StackShape,
  expert: number,
): Float64Array | undefined {
  if (groups === 0) return undefined
  const size = outputs * groups
  const scales = readNumbers(store, `${base}.scales`, expert * size, (expert + 1) * size)
  const bad = scales.findIndex((scale) => !(scale >= 0 && scale < Infinity))
  if (bad >= 0)
    throw new IntegrityError(
      `Expert stack "${base}" is damaged: scale ${scales[bad]} of expert ${expert} row ${Math.floor(bad / groups)}`,
    )
  return scales
}

function bitCount(byte: number): number {
  let count = 0
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++
  return count
}
