import { createReadStream } from 'node:fs'
import { basename, extname } from 'node:path'
import { FormatError, UsageError } from '../src/errors.ts'
import type { RenderChat } from './jsonl.ts'
import { readJsonLines } from './jsonl.ts'
import type { ByteStream } from './lines.ts'
import { firstLine, prepend } from './lines.ts'
import { readPlainText } from './plain-text.ts'

/** One document, or a further piece of one that is too long for a single string. */
export type Document = {
  readonly text: string
  /** What kind of text it is, for results by domain. */
  readonly domain: string
  /** true when it goes on where the document before it stopped: no separator belongs between them. */
  readonly continues: boolean
}

export type CorpusOptions = {
  /** What the path '-' reads. @default process.stdin */
  readonly stdin?: ByteStream
  /** Text of an object with `messages`, by a chat template; throws Error with its reason. @default such lines are refused */
  readonly renderChat?: RenderChat
}

/** Extensions of JSON lines; every other file is one document of plain text. */
const JSONL = new Set(['.jsonl', '.ndjson'])

/**
 * The documents of some files in order, one at a time: only what is asked for is read, so a text may be larger than memory.
 * Files ending in .jsonl or .ndjson hold a JSON object a line with `text` (or `messages`) and optionally `domain`; other files are one
 * document of plain text. '-' is standard input, JSON lines when its first line is a JSON object. Without a `domain` it is
 * the name of the file without its extension. Documents of white space only are left out by the windows, not here.
 *
 * Throws FormatError naming file, line and field for what cannot be read, is not UTF-8 or not such JSON, and for a file
 * without any text; UsageError for no path, or '-' twice.
 */
export async function* readDocuments(paths: readonly string[], options: CorpusOptions = {}): AsyncGenerator<Document> {
  if (paths.length === 0) throw new UsageError("Cannot read text: no file given: name a .txt or .jsonl file, or '-'")
  if (paths.filter((path) => path === '-').length > 1)
    throw new UsageError("Cannot read standard input twice: give '-' once")
  for (const path of paths) {
    let documents = 0
    let written = false
    for await (const document of documentsOf(path, options)) {
      documents++
      written ||= /\S/.test(document.text)
      yield document
    }
    if (!written) throw new FormatError(emptyMessage(path, documents))
  }
}

async function* documentsOf(
  path: string,
  { stdin = process.stdin, renderChat }: CorpusOptions,
): AsyncGenerator<Document> {
  if (path === '-') {
    const name = 'standard input'
    const { line, rest } = await firstLine(stdin)
    const bytes = prepend(line, rest)
    yield* isJsonObject(line) ? readJsonLines(bytes, name, 'stdin', renderChat) : readPlainText(bytes, name, 'stdin')
    return
  }
  const extension = extname(path)
  const domain = basename(path, extension)
  const bytes = fileBytes(path)
  yield* JSONL.has(extension.toLowerCase())
    ? readJsonLines(bytes, path, domain, renderChat)
    : readPlainText(bytes, path, domain)
}

/** The bytes of a file; what the system says about it becomes a FormatError. */
async function* fileBytes(path: string): ByteStream & AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) yield chunk as Uint8Array
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    const what = WHAT[code] ?? `the system says ${code}`
    throw new FormatError(`Cannot read text "${path}": ${what}: name a readable .txt or .jsonl file`, { cause: error })
  }
}

const WHAT: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'no permission to read it',
}

function isJsonObject(line: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(line))
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

function emptyMessage(path: string, documents: number): string {
  const name = path === '-' ? 'standard input' : `"${path}"`
  const got = documents === 0 ? 'it is empty' : `its ${documents} documents hold white space only`
  return `Cannot use the text of ${name}: ${got}: wanted at least one document with text`
}
