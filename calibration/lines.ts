import { FormatError } from '../src/errors.ts'

/** Bytes as they come from a file or a pipe. */
export type ByteStream = AsyncIterable<Uint8Array>

/** One line without its line break, and its number from 1. */
export type Line = { readonly bytes: Uint8Array; readonly number: number }

/** Longest line taken into memory: JavaScript strings end at 512 Mi characters, and JSON needs a second copy. */
export const MAX_LINE_BYTES = 256 * 1024 * 1024

const NEWLINE = 0x0a

/** The lines of a stream, whatever its chunks. Throws FormatError on a line longer than MAX_LINE_BYTES. */
export async function* lines(stream: ByteStream, name: string): AsyncGenerator<Line> {
  let parts: Uint8Array[] = []
  let held = 0
  let number = 1
  for await (const chunk of stream) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      parts.push(chunk.subarray(start, end))
      yield { bytes: Buffer.concat(parts), number: number++ }
      parts = []
      held = 0
      start = end + 1
    }
    if (start === chunk.length) continue
    parts.push(chunk.subarray(start))
    held += chunk.length - start
    if (held > MAX_LINE_BYTES)
      throw new FormatError(
        `Cannot read text of ${name}, line ${number}: got more than ${MAX_LINE_BYTES} bytes without a line break: ` +
          `split the document`,
      )
  }
  if (held > 0) yield { bytes: Buffer.concat(parts), number }
}

/** The text of some bytes; a byte order mark is dropped. Throws FormatError on what is not UTF-8, naming the line. */
export function decode(bytes: Uint8Array, name: string, line: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new FormatError(
      `Cannot read text of ${name}, line ${badLine(bytes, line)}: got bytes that are not UTF-8: ` +
        `convert it, e.g. with iconv -t UTF-8`,
      { cause: error },
    )
  }
}

/** What comes up to the first line break, and what follows it. */
export async function firstLine(stream: ByteStream): Promise<{ line: Uint8Array; rest: ByteStream }> {
  const chunks = stream[Symbol.asyncIterator]()
  const rest: ByteStream = { [Symbol.asyncIterator]: () => chunks }
  const parts: Uint8Array[] = []
  let held = 0
  while (held <= MAX_LINE_BYTES) {
    const { value, done } = await chunks.next()
    if (done === true) break
    parts.push(value)
    held += value.length
    if (value.includes(NEWLINE)) break
  }
  const all = Buffer.concat(parts)
  const end = all.indexOf(NEWLINE)
  if (end < 0) return { line: all, rest }
  return { line: all.subarray(0, end), rest: prepend(all.subarray(end), rest) }
}

/** `head`, then `rest`. */
export async function* prepend(head: Uint8Array, rest: ByteStream): AsyncGenerator<Uint8Array> {
  if (head.length > 0) yield head
  yield* rest
}

/** The line in which the first bytes lie that are not UTF-8; `first` is the number of the first line. */
function badLine(bytes: Uint8Array, first: number): number {
  let line = first
  let start = 0
  const decoder = new TextDecoder('utf-8', { fatal: true })
  for (;;) {
    const end = bytes.indexOf(NEWLINE, start)
    try {
      decoder.decode(bytes.subarray(start, end < 0 ? bytes.length : end))
    } catch {
      return line
    }
    if (end < 0) return line
    line++
    start = end + 1
  }
}
