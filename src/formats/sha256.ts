import { breathe } from './breathe.ts'
import { createHash } from 'node:crypto'
import type { OpenFile } from './bytes.ts'
import { closeFile, openForReading, readInto } from './bytes.ts'

const PIECE_BYTES = 1 << 22

/** SHA-256 of a file's bytes as lower-case hex, read in pieces. Throws as openForReading and readInto do. */
export async function fileSha256(path: string): Promise<string> {
  return (await fileSha256Parts(path, [])).whole
}

/**
 * The same of a file and, in one pass, of its parts [0, cuts[0]), [cuts[0], cuts[1]), …, [the last cut, end). Cuts ascend;
 * those behind the end of the file leave empty parts.
 */
export async function fileSha256Parts(
  path: string,
  cuts: readonly number[],
): Promise<{ readonly whole: string; readonly parts: readonly string[] }> {
  const whole = createHash('sha256')
  const file = openForReading(path)
  try {
    const parts: string[] = []
    for (let i = 0; i <= cuts.length; i++) {
      const part = createHash('sha256')
      const [begin, end] = [cuts[i - 1] ?? 0, Math.min(cuts[i] ?? file.byteLength, file.byteLength)]
      await eachPiece(file, begin, end, (piece) => {
        whole.update(piece)
        if (cuts.length > 0) part.update(piece)
      })
      parts.push(part.digest('hex'))
    }
    return cuts.length > 0 ? { whole: whole.digest('hex'), parts } : onePart(whole.digest('hex'))
  } finally {
    closeFile(file)
  }
}

/** SHA-256 of the text's UTF-8 bytes as lower-case hex. */
export function textSha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex')
}

function onePart(whole: string): { whole: string; parts: string[] } {
  return { whole, parts: [whole] }
}

async function eachPiece(file: OpenFile, begin: number, end: number, body: (piece: Uint8Array) => void): Promise<void> {
  const buffer = new Uint8Array(Math.max(0, Math.min(PIECE_BYTES, end - begin)))
  for (let at = begin; at < end; at += PIECE_BYTES) {
    const piece = buffer.subarray(0, Math.min(PIECE_BYTES, end - at))
    readInto(file, at, piece)
    body(piece)
    await breathe()
  }
}
