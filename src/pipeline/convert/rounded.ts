import { UnsupportedError } from '../../errors.ts'
import type { WrittenKind } from '../../formats/gguf/encode.ts'
import { encodeNumbers } from '../../formats/gguf/encode.ts'

/** Numbers as bytes of another type. Throws UnsupportedError for one that it cannot hold. */
export function rounded(W: Float32Array, kind: WrittenKind, name: string): Uint8Array {
  const at = W.findIndex((w) => !isHeld(w, kind))
  if (at < 0) return encodeNumbers(kind, W)
  throw new UnsupportedError(
    `Cannot write "${name}" as ${kind.toLowerCase()}: weight ${at} is ${W[at]}: use --weights f32 or exact`,
  )
}

const LARGEST_BF16 = 2 ** 128 - 2 ** 119

/** Beyond these a number rounds to infinity: f16 ends at 65504, the scales of Q8_0 are f16. */
function isHeld(w: number, kind: WrittenKind): boolean {
  switch (kind) {
    case 'F32':
      return true
    case 'BF16':
      return Math.abs(w) < LARGEST_BF16
    case 'F16':
      return Math.abs(w) < 65_520
    case 'Q8_0':
      return Math.abs(w) < 127 * 65_520
  }
}
