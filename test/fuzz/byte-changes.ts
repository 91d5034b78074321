/** One change of some bytes; the numbers choose where and what, whatever the bytes are. */
export type ByteChange = { readonly where: number; readonly what: number; readonly which: number }

/** Numbers that lengths, counts and offsets are made of, as 64 bits. */
const NUMBERS = [0n, 1n, 2n, 7n, 255n, 65_536n, 1n << 24n, (1n << 31n) - 1n, 1n << 31n, (1n << 32n) - 1n, 1n << 32n]
const LARGE = [(1n << 53n) - 1n, 1n << 53n, 1n << 60n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n, 100_000_001n]
const ALL = [...NUMBERS, ...LARGE]
const EDGES = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x22, 0x7b, 0x5c, 0x0a]

/** Most bytes of a changed input: splices do not grow without end. */
const MAX_BYTES = 2_000_000

/** `bytes` with the changes made one after another; `other` is another valid file, `words` are spliced in whole. */
export function changedBytes(
  bytes: Uint8Array,
  changes: readonly ByteChange[],
  other: Uint8Array,
  words: readonly string[],
): Buffer {
  let now: Buffer = Buffer.from(bytes)
  for (const change of changes) now = apply(now, change, other, words).subarray(0, MAX_BYTES)
  return now
}

function apply(now: Buffer, { where, what, which }: ByteChange, other: Uint8Array, words: readonly string[]): Buffer {
  // Half of all changes are in the first bytes, where formats have their headers.
  const span = which % 2 === 0 ? Math.min(now.length, 512) : now.length
  const at = span === 0 ? 0 : where % span
  const size = 1 + ((which >>> 8) % 64)
  switch (what % 11) {
    case 0:
      if (now.length > 0) now[at]! ^= 1 << ((which >>> 4) % 8)
      return now
    case 1:
      if (now.length > 0) now[at] = EDGES[(which >>> 4) % EDGES.length]!
      return now
    case 2:
      return now.subarray(0, where % (now.length + 1))
    case 3:
      return Buffer.concat([now.subarray(0, at), noise(which, size), now.subarray(at)])
    case 4:
      return Buffer.concat([now.subarray(0, at), now.subarray(at + size)])
    case 5:
      return Buffer.concat([now.subarray(0, at), now.subarray(at, at + size), now.subarray(at)])
    case 6:
      return Buffer.concat([now.subarray(0, at), Buffer.from(other.subarray(which % (other.length + 1)))])
    case 7:
      return written(now, at, which, 8)
    case 8:
      return written(now, at, which, 4)
    case 9:
      // The first number of a file: the length of a header, the version.
      return written(now, which % 3 === 0 ? 0 : (which % 4) * 4, which, 8)
    default: {
      const word = Buffer.from(words[which % Math.max(1, words.length)] ?? '')
      return Buffer.concat([now.subarray(0, at), word, now.subarray(at + (where % 3 === 0 ? word.length : 0))])
    }
  }
}

function written(now: Buffer, at: number, which: number, size: 4 | 8): Buffer {
  if (now.length < at + size) return now
  const number = Buffer.alloc(8)
  number.writeBigUInt64LE(ALL[(which >>> 4) % ALL.length]!)
  number.copy(now, at, 0, size)
  return now
}

/** Bytes that look like nothing (a linear congruential generator, so that an input can be made again). */
function noise(seed: number, length: number): Buffer {
  let state = seed >>> 0
  return Buffer.from(Uint8Array.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24))
}
