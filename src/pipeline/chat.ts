import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { FormatError, UsageError } from '../errors.ts'
import { fileInFolder } from '../formats/paths.ts'
import { readJsonObject, readText } from '../model/json.ts'
import { withinTime } from '../model/time-limit.ts'
import { limited, MAX_RANGE, MAX_RENDER_MS, MAX_TEMPLATE_CHARS } from './chat-limits.ts'

/** One turn of a conversation; templates read what fields they know. */
export type ChatMessage = { readonly role: string; readonly [field: string]: unknown }

/** A conversation as JSON lines hold it. */
export type Conversation = {
  readonly messages: readonly ChatMessage[]
  /** JSON schemas of the functions that the model may call. */
  readonly tools?: readonly unknown[]
  readonly documents?: readonly unknown[]
}

/** Renders conversations as the text that the model was trained on. */
export type ChatTemplate = {
  /** Throws FormatError with the template's own words where it refuses a conversation, or takes more than a template may. */
  render(chat: Conversation, options?: { readonly addGenerationPrompt?: boolean }): string
}

const MAX_FILE_BYTES = 400_000_000

/**
 * The chat template of a model folder: chat_template.jinja, else `chat_template` of tokenizer_config.json (of several, the
 * one named default). Its text equals that of transformers' apply_chat_template, but for the date: templates that ask for
 * today are told 26 July 2024, the date that Llama's templates fall back to, so that equal text gives equal artifacts.
 * Throws UsageError when the model has none, FormatError when it cannot be parsed.
 */
export function openChatTemplate(folder: string): ChatTemplate {
  const config = optionalJson(folder, 'tokenizer_config.json')
  const own = fileInFolder(folder, 'chat_template.jinja')
  const source = own === undefined ? defaultOf(config['chat_template']) : readText(own, MAX_FILE_BYTES)
  if (source === undefined)
    throw new UsageError(
      `Cannot render conversations: ${folder} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): ` +
        'give text instead, or take the chat model of the family',
    )
  const template = parsed(source, folder)
  const special = { ...tokensOf(optionalJson(folder, 'special_tokens_map.json')), ...tokensOf(config) }
  return {
    render({ messages, tools, documents }, { addGenerationPrompt = false } = {}) {
      const given = { messages, tools: tools ?? null, documents: documents ?? null }
      return rendered(template, { ...GLOBALS, ...special, ...given, add_generation_prompt: addGenerationPrompt })
    },
  }
}

type Parsed = ReturnType<typeof parse>

function rendered(template: Parsed, names: Readonly<Record<string, unknown>>): string {
  try {
    return withinTime(MAX_RENDER_MS, () => {
      const environment = new Environment()
      for (const [name, value] of Object.entries(names)) environment.set(name, value)
      return (limited(new Interpreter(environment)).run(template) as { readonly value: string }).value
    })
  } catch (cause) {
    throw new FormatError((cause as Error).message, { cause })
  }
}

/** What templates may call. The library's own set cannot be changed, and its date is today's. */
const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  raise_exception: (message: string): never => {
    throw new Error(message)
  },
  range,
  strftime_now: dateText,
}

/** Python's range(stop) or range(start, stop, step). */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  const length = Math.max(0, Math.ceil((stop - start) / step))
  if (!(length <= MAX_RANGE)) throw new FormatError(`range() of ${length} numbers, supported are ${MAX_RANGE}`)
  return Array.from({ length }, (_, i) => start + i * step)
}

function parsed(source: string, folder: string): Parsed {
  try {
    if (source.length > MAX_TEMPLATE_CHARS)
      throw new RangeError(`it has ${source.length} characters, at most ${MAX_TEMPLATE_CHARS}`)
    // transformers compiles with these two settings. White space alone can keep the lexer's patterns busy for minutes.
    return withinTime(MAX_RENDER_MS, () => parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })))
  } catch (cause) {
    throw new FormatError(`Cannot use the chat template of ${folder}: ${(cause as Error).message.split('\n')[0]}`, {
      cause,
    })
  }
}

/** A template, or of a list of named ones the default. */
function defaultOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return undefined
  const named = value as readonly { readonly name?: unknown; readonly template?: unknown }[]
  const found = named.find((one) => one?.name === 'default')?.template
  return typeof found === 'string' ? found : undefined
}

function optionalJson(folder: string, name: string): Readonly<Record<string, unknown>> {
  const file = fileInFolder(folder, name)
  return file === undefined ? {} : readJsonObject(file, MAX_FILE_BYTES)
}

/** 'bos_token' and its like, as plain text. */
function tokensOf(json: Readonly<Record<string, unknown>>): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const [key, value] of Object.entries(json)) {
    const content = typeof value === 'object' && value !== null && 'content' in value ? value.content : value
    if (key.endsWith('_token') && typeof content === 'string') tokens[key] = content
  }
  return tokens
}

/** What strftime makes of noon on Friday, 26 July 2024. */
const DATE: Readonly<Record<string, string>> = {
  '%a': 'Fri',
  '%A': 'Friday',
  '%b': 'Jul',
  '%B': 'July',
  '%d': '26',
  '%-d': '26',
  '%e': '26',
  '%m': '07',
  '%-m': '7',
  '%y': '24',
  '%Y': '2024',
  '%j': '208',
  '%H': '12',
  '%I': '12',
  '%p': 'PM',
  '%M': '00',
  '%S': '00',
  '%F': '2024-07-26',
  '%T': '12:00:00',
  '%%': '%',
}

function dateText(format: string): string {
  return format.replaceAll(/%-?./g, (code) => DATE[code] ?? code)
}
