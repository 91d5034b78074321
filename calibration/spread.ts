import type { Document } from './corpus.ts'

/** Characters of a piece: several windows long, so that few windows meet its ends. */
const PIECE = 1 << 14

/** A text of which no more is read than wanted. */
export type SpreadText = {
  /** Characters of all documents. */
  readonly characters: number
  /** true when pieces of the text are taken instead of all of it. */
  readonly isPart: boolean
  readonly documents: AsyncIterable<Document>
}

/**
 * The documents of a text, or of one longer than `limit` characters, pieces of it that lie at equal distances from its
 * begin to its end and are that long together. Reading up to a limit would leave out what comes late: in a text in order
 * of domains, whole domains. A piece counts as a document of its own. `read` is called twice.
 */
export async function spreadText(read: () => AsyncIterable<Document>, limit: number): Promise<SpreadText> {
  let characters = 0
  for await (const { text } of read()) characters += text.length
  const isPart = characters > limit
  return { characters, isPart, documents: isPart ? pieces(read(), characters, limit) : read() }
}

/** Piece j is what lies at characters [j · distance, j · distance + PIECE) of all documents one behind the other. */
async function* pieces(
  documents: AsyncIterable<Document>,
  characters: number,
  limit: number,
): AsyncGenerator<Document> {
  const count = Math.max(1, Math.floor(limit / PIECE))
  const distance = characters / count
  const length = Math.min(PIECE, limit)
  let begin = 0
  let next = 0
  for await (const { text, domain, continues } of documents) {
    const end = begin + text.length
    for (; next < count; next++) {
      const from = Math.floor(next * distance)
      if (from >= end) break
      const start = wholeCharacter(text, Math.max(0, from - begin))
      const stop = wholeCharacter(text, Math.min(text.length, from + length - begin))
      // A piece that began in the document before this one goes on, if this one does.
      if (stop > start) yield { text: text.slice(start, stop), domain, continues: from < begin && continues }
      if (from + length > end) break
    }
    begin = end
  }
}

/** `at`, or one more where that is inside a surrogate pair. */
function wholeCharacter(text: string, at: number): number {
  const code = text.charCodeAt(at)
  return at > 0 && code >= 0xdc00 && code < 0xe000 ? at + 1 : at
}
