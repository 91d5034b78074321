import type { Tokenizer } from '../model/tokenizer.ts'

/** Text of tokens as they come. */
export type TextStream = {
  push(id: number): void
  /** A stop string is complete: no more tokens are wanted. */
  readonly isStopped: boolean
  /** Tells what was held back; the whole text. */
  end(): string
}

/** Tokens that are decoded again in front of new ones. */
const CONTEXT = 4

/**
 * Turns tokens behind `promptIds` into text. A token may end inside a character, which decodes to U+FFFD: it is held back
 * until the next tokens complete it, or the end. Decoders drop a space at the very beginning, so tokens are decoded behind
 * some that came before them. The text ends in front of the first of `stops`; what may become one is held back too.
 */
export function textStream(
  tokenizer: Tokenizer,
  promptIds: readonly number[],
  stops: readonly string[],
  onText: ((text: string) => void) | undefined,
): TextStream {
  let context = promptIds.slice(-CONTEXT)
  let pending: number[] = []
  let held = ''
  let told = ''
  let isStopped = false
  const tell = (text: string): void => {
    if (text !== '') onText?.(text)
    told += text
  }
  const decode = (isEnd: boolean): void => {
    const before = tokenizer.decode(context)
    const text = tokenizer.decode([...context, ...pending])
    if (pending.length === 0 || (text.endsWith('\uFFFD') && !isEnd)) return
    held += text.slice(before.length)
    context = [...context, ...pending].slice(-CONTEXT)
    pending = []
    const end = firstOf(held, stops)
    isStopped = end < held.length
    const free = isStopped ? end : held.length - beginningOf(stops, held)
    tell(held.slice(0, free))
    held = isStopped ? '' : held.slice(free)
  }
  return {
    push(id) {
      if (isStopped) return
      pending.push(id)
      decode(false)
    },
    get isStopped() {
      return isStopped
    },
    end() {
      if (!isStopped) decode(true)
      tell(held)
      held = ''
      return told
    },
  }
}

/** Where the first of `stops` begins in a text; its length where there is none. */
function firstOf(text: string, stops: readonly string[]): number {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0)
  return Math.min(text.length, ...found)
}

/** Length of the longest end of a text that one of `stops` begins with. */
function beginningOf(stops: readonly string[], text: string): number {
  const most = Math.min(text.length, Math.max(0, ...stops.map((stop) => stop.length - 1)))
  for (let length = most; length > 0; length--)
    if (stops.some((stop) => stop.startsWith(text.slice(text.length - length)))) return length
  return 0
}
