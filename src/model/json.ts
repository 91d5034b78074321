import { FormatError } from '../errors.ts'
import { closeFile, openForReading, readRange } from '../formats/bytes.ts'

/**
 * The JSON object in a file of a model folder. `maxBytes` is refused before anything is read.
 * Throws FormatError when the file is missing, too large, not UTF-8, not JSON, or no object.
 */
export function readJsonObject(path: string, maxBytes: number): Record<string, unknown> {
  const value = parseJson(readText(path, maxBytes), path)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new FormatError(`Cannot read ${path}: the top level is ${kindOf(value)}, expected an object`)
  return value as Record<string, unknown>
}

/** What a JSON value is, in words for messages: 'a list', 'the string "64"', 'missing'. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  return typeof value === 'string' ? `the string ${JSON.stringify(value.slice(0, 40))}` : String(value)
}

/** The UTF-8 text of a file. Throws FormatError when it is missing, larger than `maxBytes`, or not UTF-8. */
export function readText(path: string, maxBytes: number): string {
  const file = openForReading(path)
  try {
    if (file.byteLength > maxBytes)
      throw new FormatError(`Cannot read ${path}: it has ${file.byteLength} bytes, expected at most ${maxBytes}`)
    return new TextDecoder('utf-8', { fatal: true }).decode(readRange(file, 0, file.byteLength))
  } catch (cause) {
    if (cause instanceof TypeError) throw new FormatError(`Cannot read ${path}: it is not UTF-8 text`, { cause })
    throw cause
  } finally {
    closeFile(file)
  }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    // The parser quotes the text around the mistake, line ends included.
    const reason = (cause as Error).message.replaceAll(/\s+/g, ' ')
    throw new FormatError(`Cannot read ${path}: it is not JSON: ${reason}`, { cause })
  }
}
