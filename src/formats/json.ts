/**
 * A strict JSON value. Objects are Maps, so that names such as `__proto__` are plain keys; integers are bigint, exact at
 * any size; a number written with a fraction or an exponent (and `-0`) is a number.
 */
export type JsonValue = null | boolean | string | bigint | number | JsonValue[] | Map<string, JsonValue>

/** Same nesting limit as serde_json, the parser of the Rust reference. */
const MAX_DEPTH = 128

/**
 * Parses JSON (RFC 8259) and, unlike JSON.parse, refuses a repeated key, keeps big integers exact, and refuses strings
 * with lone surrogates, which no UTF-8 text can hold. Throws SyntaxError naming the position.
 */
export function parseStrictJson(text: string): JsonValue {
  const reader: Reader = { text, at: 0 }
  const value = readValue(reader, 0)
  skipSpace(reader)
  if (reader.at < text.length) throw unexpected(reader, 'the end')
  return value
}

/** A cursor over the text; every reading function advances it. */
type Reader = { readonly text: string; at: number }

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y
const LONE_SURROGATE = /\p{Surrogate}/u

function readValue(reader: Reader, depth: number): JsonValue {
  if (depth > MAX_DEPTH) throw new SyntaxError(`nested deeper than ${MAX_DEPTH} levels at position ${reader.at}`)
  skipSpace(reader)
  switch (reader.text[reader.at]) {
    case '{':
      return readObject(reader, depth)
    case '[':
      return readArray(reader, depth)
    case '"':
      return readString(reader)
    case 't':
      return readWord(reader, 'true', true)
    case 'f':
      return readWord(reader, 'false', false)
    case 'n':
      return readWord(reader, 'null', null)
    default:
      return readNumber(reader)
  }
}

function readObject(reader: Reader, depth: number): Map<string, JsonValue> {
  const object = new Map<string, JsonValue>()
  reader.at++
  skipSpace(reader)
  if (skipIf(reader, '}')) return object
  do {
    skipSpace(reader)
    if (reader.text[reader.at] !== '"') throw unexpected(reader, 'a key')
    const key = readString(reader)
    if (object.has(key)) throw new SyntaxError(`key ${JSON.stringify(key)} appears twice, at position ${reader.at}`)
    skipSpace(reader)
    if (!skipIf(reader, ':')) throw unexpected(reader, '":"')
    object.set(key, readValue(reader, depth + 1))
    skipSpace(reader)
  } while (skipIf(reader, ','))
  if (!skipIf(reader, '}')) throw unexpected(reader, '"," or "}"')
  return object
}

function readArray(reader: Reader, depth: number): JsonValue[] {
  const array: JsonValue[] = []
  reader.at++
  skipSpace(reader)
  if (skipIf(reader, ']')) return array
  do {
    array.push(readValue(reader, depth + 1))
    skipSpace(reader)
  } while (skipIf(reader, ','))
  if (!skipIf(reader, ']')) throw unexpected(reader, '"," or "]"')
  return array
}

function readString(reader: Reader): string {
  const start = reader.at
  let end = reader.text.indexOf('"', start + 1)
  while (end > 0 && isEscaped(reader.text, start, end)) end = reader.text.indexOf('"', end + 1)
  if (end < 0) throw new SyntaxError(`the string at position ${start} does not end`)
  let value: string
  try {
    value = JSON.parse(reader.text.slice(start, end + 1)) as string
  } catch {
    throw new SyntaxError(`the string at position ${start} has a bad escape or a control character`)
  }
  if (LONE_SURROGATE.test(value)) throw new SyntaxError(`the string at position ${start} has a lone surrogate`)
  reader.at = end + 1
  return value
}

/** Whether an odd number of backslashes stands before the quote at `quote`. */
function isEscaped(text: string, start: number, quote: number): boolean {
  let at = quote - 1
  while (at > start && text[at] === '\\') at--
  return (quote - 1 - at) % 2 === 1
}

function readNumber(reader: Reader): bigint | number {
  NUMBER.lastIndex = reader.at
  const match = NUMBER.exec(reader.text)
  if (match === null) throw unexpected(reader, 'a value')
  reader.at = NUMBER.lastIndex
  const isInteger = match[1] === undefined && match[2] === undefined && match[0] !== '-0'
  return isInteger ? BigInt(match[0]) : Number(match[0])
}

function readWord<T>(reader: Reader, word: string, value: T): T {
  if (!reader.text.startsWith(word, reader.at)) throw unexpected(reader, 'a value')
  reader.at += word.length
  return value
}

function skipSpace(reader: Reader): void {
  for (;;) {
    const c = reader.text.charCodeAt(reader.at)
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return
    reader.at++
  }
}

function skipIf(reader: Reader, char: string): boolean {
  if (reader.text[reader.at] !== char) return false
  reader.at++
  return true
}

function unexpected(reader: Reader, wanted: string): SyntaxError {
  const got = reader.at < reader.text.length ? JSON.stringify(reader.text[reader.at]) : 'the end'
  return new SyntaxError(`got ${got} at position ${reader.at}, expected ${wanted}`)
}
