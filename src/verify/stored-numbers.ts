import type { TensorStore } from '../formats/safetensors/reader.ts'

/** Elements [from, to) of an F16, BF16 or I8 tensor, or 4-bit numbers two a byte of a U8 one. */
export function readNumbers(store: TensorStore, name: string, from: number, to: number): Float64Array {
  const numbers = new Float64Array(to - from)
  switch (store.get(name).dtype) {
    case 'F16': {
      const halves = new Uint16Array(store.readBytes(name, 2 * from, 2 * to).buffer)
      return looked(halves, (halfNumbers ??= tableOf(halfToNumber)), numbers)
    }
    case 'BF16': {
      const halves = new Uint16Array(store.readBytes(name, 2 * from, 2 * to).buffer)
      return looked(halves, (brainNumbers ??= tableOf(brainHalf)), numbers)
    }
    case 'I8':
      numbers.set(new Int8Array(store.readBytes(name, from, to).buffer))
      return numbers
    case 'U8': {
      const firstByte = Math.floor(from / 2)
      const bytes = store.readBytes(name, firstByte, Math.ceil(to / 2))
      for (let i = 0; i < numbers.length; i++)
        numbers[i] = nibble(bytes[Math.floor((from + i) / 2) - firstByte]!, (from + i) % 2)
      return numbers
    }
    default:
      throw new RangeError(`Cannot read "${name}": its dtype is ${store.get(name).dtype}`)
  }
}

// An artifact has some 10⁹ of them: each of the 65536 patterns is worked out once.
let halfNumbers: Float64Array | undefined
let brainNumbers: Float64Array | undefined

function tableOf(toNumber: (bits: number) => number): Float64Array {
  return Float64Array.from({ length: 65536 }, (_, bits) => toNumber(bits))
}

function looked(bits: Uint16Array, table: Float64Array, numbers: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  for (let i = 0; i < numbers.length; i++) numbers[i] = table[bits[i]!]!
  return numbers
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

/** bfloat16: the upper half of a float32. */
function brainHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 7) & 255
  const fraction = bits & 127
  if (exponent === 0) return sign * fraction * 2 ** -133
  if (exponent === 255) return fraction === 0 ? sign * Infinity : Number.NaN
  return sign * (128 + fraction) * 2 ** (exponent - 134)
}

/** One half of a byte, 0 the low one, in two's complement. */
function nibble(byte: number, half: number): number {
  const bits = half === 0 ? byte % 16 : Math.floor(byte / 16)
  return bits < 8 ? bits : bits - 16
}
