import { FormatError } from '../src/errors.ts'
import type { Document } from './corpus.ts'
import type { ByteStream, Line } from './lines.ts'
import { decode, lines } from './lines.ts'

/** A turn of a conversation. */
export type Message = { readonly role: string; readonly [field: string]: unknown }

/** Makes the text of a conversation; throws Error with the reason where it cannot. */
export type RenderChat = (chat: {
  readonly messages: readonly Message[]
  readonly tools?: readonly unknown[]
  readonly documents?: readonly unknown[]
}) => string

/**
 * Documents of JSON lines: one object a line with `text` (string) and optionally `domain` (string); other fields are not
 * looked at, blank lines are skipped. With `renderChat`, a line may have `messages` (and `tools`, `documents`) instead of
 * `text`. Throws FormatError naming file, line, field, got and wanted.
 */
export async function* readJsonLines(
  stream: ByteStream,
  name: string,
  domain: string,
  renderChat?: RenderChat,
): AsyncGenerator<Document> {
  for await (const line of lines(stream, name)) {
    const source = decode(line.bytes, name, line.number)
    if (source.trim() !== '') yield documentOf(source, line, name, domain, renderChat)
  }
}

function documentOf(
  source: string,
  { number }: Line,
  name: string,
  fallback: string,
  renderChat: RenderChat | undefined,
): Document {
  const refuse = (what: string): never => {
    throw new FormatError(
      `Cannot read text of ${name}, line ${number}: ${what}: wanted an object with a string "text" ` +
        `and optionally a string "domain" on every line`,
    )
  }
  const value = parse(source, refuse)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse(`got ${kindOf(value)}`)
  const isChat = !Object.hasOwn(value, 'text') && Object.hasOwn(value, 'messages')
  if (isChat && !renderChat) return refuse('field "text" is missing, and "messages" need --chat-template')
  if (!isChat && !Object.hasOwn(value, 'text')) return refuse('field "text" is missing')
  const text = isChat ? chatText(value, renderChat!, refuse) : (value as { text: unknown }).text
  const { domain } = value as { domain?: unknown }
  if (typeof text !== 'string') return refuse(`field "text" is ${kindOf(text)}`)
  if (domain !== undefined && typeof domain !== 'string') return refuse(`field "domain" is ${kindOf(domain)}`)
  return { text, domain: domain ?? fallback, continues: false }
}

function chatText(value: object, renderChat: RenderChat, refuse: (what: string) => never): string {
  const { messages, tools, documents } = value as { messages: unknown; tools?: unknown; documents?: unknown }
  if (!isMessages(messages)) return refuse('field "messages" is no list of objects with a string "role"')
  const lists = Object.entries({ tools, documents }).filter(([, list]) => list !== undefined && list !== null)
  for (const [key, list] of lists) if (!Array.isArray(list)) return refuse(`field "${key}" is no list`)
  try {
    return renderChat({ messages, ...(Object.fromEntries(lists) as { tools?: unknown[]; documents?: unknown[] }) })
  } catch (error) {
    return refuse(
      `the chat template says "${String((error as Error).message)
        .replaceAll(/\s+/g, ' ')
        .slice(0, 200)}"`,
    )
  }
}

function isMessages(value: unknown): value is readonly Message[] {
  return Array.isArray(value) && value.length > 0 && value.every(isMessage)
}

function isMessage(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'role' in value && typeof value.role === 'string'
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
