/** Two 4-bit numbers a byte, low half first, two's complement; an unused last half is 0. */
export function packNibbles(values: Int8Array): Uint8Array {
  const bytes = new Uint8Array((values.length + 1) >> 1)
  for (let i = 0; i < values.length; i++) bytes[i >> 1]! |= (values[i]! & 15) << ((i & 1) * 4)
  return bytes
}

/** Numbers [from, to) of packNibbles(). */
export function unpackNibbles(bytes: Uint8Array, from: number, to: number): Int8Array {
  const values = new Int8Array(to - from)
  for (let i = from; i < to; i++) values[i - from] = (((bytes[i >> 1]! >> ((i & 1) * 4)) & 15) << 28) >> 28
  return values
}
