import { FormatError, UsageError } from '../errors.ts'
import type { Tokenizer } from '../model/tokenizer.ts'
import { openChatTemplate } from './chat.ts'

/** What a prompt is to a model. */
export type ChatPromptOption = {
  /** The prompt is what a user says: the model's chat template puts it into a conversation. @default false */
  readonly chat?: boolean
  /** With `chat`: what the conversation begins with. @default nothing, or what the template has there */
  readonly system?: string
}

/**
 * How prompts of a model become tokens: as they are, with the special tokens of tokenizer.json around them (an empty one is
 * the end-of-text token), or as the conversation that a chat model expects, whose template writes all of them.
 * Throws UsageError for `system` without `chat` and for a model without a chat template, and where a prompt is rendered
 * FormatError with the template's own words when it refuses the conversation (some know no system message).
 */
export function promptTokens(
  folder: string,
  tokenizer: Tokenizer,
  { chat = false, system }: ChatPromptOption,
): (prompt: string) => number[] {
  if (!chat) {
    if (system !== undefined) throw new UsageError('--system: it begins a conversation, wanted --chat too')
    return (prompt) => (prompt === '' ? [tokenizer.separatorId] : tokenizer.encodePrompt(prompt))
  }
  const template = openChatTemplate(folder)
  const first = system === undefined ? [] : [{ role: 'system', content: system }]
  return (content) => {
    try {
      return tokenizer.encode(
        template.render({ messages: [...first, { role: 'user', content }] }, { addGenerationPrompt: true }),
      )
    } catch (cause) {
      const reason = (cause as Error).message.split('\n')[0]
      throw new FormatError(`The chat template of ${folder} refuses the conversation: ${reason}`, { cause })
    }
  }
}
