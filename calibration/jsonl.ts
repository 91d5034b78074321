import { FormatError } from '../src/errors.ts'
import type { Document } from './corpus.ts'
import type { ByteStream, Line } from './lines.ts'
import { decode, lines } from './lines.ts'

/**
 * Documents of JSON lines: one object a line with `text` (string) and optionally `domain` (string); other fields are not
 * looked at, blank lines are skipped. Throws FormatError naming file, line, field, got and wanted.
 */
export async function* readJsonLines(stream: ByteStream, name: string, domain: string): AsyncGenerator<Document> {
  for await (const line of lines(stream, name)) {
    const source = decode(line.bytes, name, line.number)
    if (source.trim() !== '') yield documentOf(source, line, name, domain)
  }
}

function documentOf(source: string, { number }: Line, name: string, fallback: string): Document {
  const refuse = (what: string): never => {
    throw new FormatError(
      `Cannot read text of ${name}, line ${number}: ${what}: wanted an object with a string "text" ` +
        `and optionally a string "domain" on every line`,
    )
  }
  const value = parse(source, refuse)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse(`got ${kindOf(value)}`)
  if (!Object.hasOwn(value, 'text')) return refuse('field "text" is missing')
  const { text, domain } = value as { text: unknown; domain?: unknown }
  if (typeof text !== 'string') return refuse(`field "text" is ${kindOf(text)}`)
  if (domain !== undefined && typeof domain !== 'string') return refuse(`field "domain" is ${kindOf(domain)}`)
  return { text, domain: domain ?? fallback, continues: false }
}

function parse(source: string, refuse: (what: string) => never): unknown {
  try {
    return JSON.parse(source)
  } catch (error) {
    // V8 quotes the line, which may be long and span several lines itself.
    return refuse(
      `got no valid JSON (${String((error as Error).message)
        .replaceAll(/\s+/g, ' ')
        .slice(0, 100)})`,
    )
  }
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
