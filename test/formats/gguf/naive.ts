import { fromF16 } from '../../../src/tensor/half.ts'

/** Weight after weight by the formulas of ggml-quants.c, without any loop over blocks: slow, and easy to check. */
export function naiveRow(kind: string, bytes: Uint8Array, cols: number): number[] {
  const weight = WEIGHTS[kind]!
  return Array.from({ length: cols }, (_, j) => {
    const [elements, size] = SIZES[kind]!
    const start = Math.floor(j / elements) * size
    return Math.fround(weight(bytes.subarray(start, start + size), j % elements))
  })
}

const SIZES: Readonly<Record<string, readonly [number, number]>> = {
  F32: [1, 4],
  F16: [1, 2],
  BF16: [1, 2],
  Q4_0: [32, 18],
  Q4_1: [32, 20],
  Q5_0: [32, 22],
  Q5_1: [32, 24],
  Q8_0: [32, 34],
  Q2_K: [256, 84],
  Q3_K: [256, 110],
  Q4_K: [256, 144],
  Q5_K: [256, 176],
  Q6_K: [256, 210],
}

const half = (b: Uint8Array, at: number): number => fromF16(Uint16Array.of(b[at]! | (b[at + 1]! << 8)))[0]!
const int8 = (byte: number): number => (byte > 127 ? byte - 256 : byte)
/** Bits [from, from + count) of the bytes taken as one long little-endian number. */
const bits = (b: Uint8Array, from: number, count: number): number => {
  let value = 0
  for (let i = 0; i < count; i++) value += ((b[(from + i) >> 3]! >> ((from + i) & 7)) & 1) << i
  return value
}
/** Four bits of weight j of 32, halves apart. */
const nibble = (b: Uint8Array, at: number, j: number): number => bits(b.subarray(at + (j % 16)), j < 16 ? 0 : 4, 4)

/** Six-bit scale (and minimum) s of Q4_K and Q5_K. */
function scaleMin(b: Uint8Array, s: number): [number, number] {
  if (s < 4) return [bits(b.subarray(s), 0, 6), bits(b.subarray(s + 4), 0, 6)]
  const shared = b.subarray(s + 4)
  return [bits(shared, 0, 4) + 16 * bits(b.subarray(s - 4), 6, 2), bits(shared, 4, 4) + 16 * bits(b.subarray(s), 6, 2)]
}

const WEIGHTS: Readonly<Record<string, (b: Uint8Array, j: number) => number>> = {
  F32: (b) => new DataView(b.buffer, b.byteOffset).getFloat32(0, true),
  F16: (b) => half(b, 0),
  BF16: (b) => new DataView(Uint8Array.of(0, 0, b[0]!, b[1]!).buffer).getFloat32(0, true),
  Q4_0: (b, j) => half(b, 0) * (nibble(b, 2, j) - 8),
  Q4_1: (b, j) => half(b, 0) * nibble(b, 4, j) + half(b, 2),
  Q5_0: (b, j) => half(b, 0) * (nibble(b, 6, j) + 16 * bits(b.subarray(2), j, 1) - 16),
  Q5_1: (b, j) => half(b, 0) * (nibble(b, 8, j) + 16 * bits(b.subarray(4), j, 1)) + half(b, 2),
  Q8_0: (b, j) => half(b, 0) * int8(b[2 + j]!),
  Q2_K: (b, j) => {
    const scale = b[j >> 4]!
    const q = bits(b.subarray(16 + 32 * Math.floor(j / 128) + (j % 32)), 2 * (Math.floor(j / 32) % 4), 2)
    return half(b, 80) * (scale % 16) * q - half(b, 82) * (scale >> 4)
  },
  Q3_K: (b, j) => {
    const s = j >> 4
    const low = bits(b.subarray(96 + (s % 8)), s < 8 ? 0 : 4, 4)
    const scale = low + 16 * bits(b.subarray(104 + (s % 4)), 2 * Math.floor(s / 4), 2) - 32
    const q = bits(b.subarray(32 + 32 * Math.floor(j / 128) + (j % 32)), 2 * (Math.floor(j / 32) % 4), 2)
    const set = bits(b.subarray(j % 32), Math.floor(j / 32), 1) === 1
    return half(b, 108) * scale * (set ? q : q - 4)
  },
  Q4_K: (b, j) => {
    const s = j >> 5
    const [scale, minimum] = scaleMin(b.subarray(4), s)
    const q = bits(b.subarray(16 + 32 * (s >> 1) + (j % 32)), s % 2 === 0 ? 0 : 4, 4)
    return half(b, 0) * scale * q - half(b, 2) * minimum
  },
  Q5_K: (b, j) => {
    const s = j >> 5
    const [scale, minimum] = scaleMin(b.subarray(4), s)
    const low = bits(b.subarray(48 + 32 * (s >> 1) + (j % 32)), s % 2 === 0 ? 0 : 4, 4)
    const q = low + 16 * bits(b.subarray(16 + (j % 32)), s, 1)
    return half(b, 0) * scale * q - half(b, 2) * minimum
  },
  Q6_K: (b, j) => {
    const [part, rest] = [j >> 7, j & 127]
    const low = bits(b.subarray(64 * part + (rest % 64)), rest < 64 ? 0 : 4, 4)
    const high = bits(b.subarray(128 + 32 * part + (rest % 32)), 2 * (rest >> 5), 2)
    return half(b, 208) * int8(b[192 + (j >> 4)]!) * (low + 16 * high - 32)
  },
}
