import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { FormatError, UsageError } from '../errors.ts'
import { readJsonObject } from '../model/json.ts'

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
  /** Throws Error with the template's own words where it refuses a conversation. */
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
  const configFile = join(folder, 'tokenizer_config.json')
  const config = existsSync(configFile) ? readJsonObject(configFile, MAX_FILE_BYTES) : {}
  const own = join(folder, 'chat_template.jinja')
  const source = existsSync(own) ? readFileSync(own, 'utf8') : defaultOf(config['chat_template'])
  if (source === undefined)
    throw new UsageError(
      `Cannot render conversations: ${folder} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): ` +
        'give text instead, or take the chat model of the family',
    )
  const template = parsed(source, folder)
  const special = { ...specialTokens(join(folder, 'special_tokens_map.json')), ...tokensOf(config) }
  return {
    render({ messages, tools, documents }, { addGenerationPrompt = false } = {}) {
      const environment = new Environment()
      const given = { messages, tools: tools ?? null, documents: documents ?? null }
      const names = { ...GLOBALS, ...special, ...given, add_generation_prompt: addGenerationPrompt }
      for (const [name, value] of Object.entries(names)) environment.set(name, value)
      return (new Interpreter(environment).run(template) as { readonly value: string }).value
    },
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
  return Array.from({ length: Math.max(0, Math.ceil((stop - start) / step)) }, (_, i) => start + i * step)
}

function parsed(source: string, folder: string): ReturnType<typeof parse> {
  try {
    // transformers compiles with these two settings.
    return parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))
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

function specialTokens(file: string): Record<string, string> {
  return existsSync(file) ? tokensOf(readJsonObject(file, MAX_FILE_BYTES)) : {}
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
