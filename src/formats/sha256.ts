import { createHash } from 'node:crypto'
import { closeFile, openForReading, readInto } from './bytes.ts'

const PIECE_BYTES = 1 << 22

/** SHA-256 of a file's bytes as lower-case hex, read in pieces. Throws as openForReading and readInto do. */
export function fileSha256(path: string): string {
  const hash = createHash('sha256')
  const file = openForReading(path)
  try {
    const piece = new Uint8Array(PIECE_BYTES)
    for (let at = 0; at < file.byteLength; at += PIECE_BYTES) {
      const part = piece.subarray(0, Math.min(PIECE_BYTES, file.byteLength - at))
      readInto(file, at, part)
      hash.update(part)
    }
  } finally {
    closeFile(file)
  }
  return hash.digest('hex')
}
