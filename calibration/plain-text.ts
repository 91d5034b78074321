import type { Document } from './corpus.ts'
import type { ByteStream } from './lines.ts'
import { decode } from './lines.ts'

/** Bytes of text that are decoded and tokenised at once: a whole book fits, a dump of gigabytes comes in pieces. */
const PIECE_BYTES = 4 * 1024 * 1024

const NEWLINE = 0x0a
const SPACE = 0x20

/**
 * A stream of plain text as one document, in pieces of about `pieceBytes` (the later ones marked `continues`). Pieces end
 * before a line break where there is one, else before a space, so that tokenizers see whole words with the white space in
 * front of them. Throws FormatError on what is not UTF-8, naming the line.
 */
export async function* readPlainText(
  stream: ByteStream,
  name: string,
  domain: string,
  pieceBytes: number = PIECE_BYTES,
): AsyncGenerator<Document> {
  let held: Uint8Array[] = []
  let heldBytes = 0
  let line = 1
  let continues = false
  const document = (bytes: Uint8Array): Document => {
    const piece = { text: decode(bytes, name, line), domain, continues }
    line += countNewlines(bytes)
    continues = true
    return piece
  }
  for await (const chunk of stream) {
    held.push(chunk)
    heldBytes += chunk.length
    if (heldBytes < pieceBytes) continue
    const bytes = Buffer.concat(held)
    const cut = cutBefore(bytes)
    if (cut > 0) yield document(bytes.subarray(0, cut))
    held = [bytes.subarray(cut)]
    heldBytes = bytes.length - cut
  }
  if (heldBytes > 0) yield document(Buffer.concat(held))
}

/** Where the last line begins, at its line break; else the last space; else the last whole character. */
function cutBefore(bytes: Uint8Array): number {
  const newline = bytes.lastIndexOf(NEWLINE)
  if (newline > 0) return newline
  const space = bytes.lastIndexOf(SPACE)
  if (space > 0) return space
  let cut = bytes.length - 1
  while (cut > 0 && (bytes[cut] & 0xc0) === 0x80) cut-- // continuation bytes of UTF-8
  return cut
}

function countNewlines(bytes: Uint8Array): number {
  let count = 0
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++
  return count
}
