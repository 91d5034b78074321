import { z } from 'zod'
import { FormatError } from '../errors.ts'
import { closeFile, openForReading, readRange } from '../formats/bytes.ts'

/** A prompt a line is no data set. */
const MAX_BYTES = 100_000_000

const line = z.union([z.object({ prompt: z.string() }), z.object({ text: z.string() })])

/**
 * Prompts of a file of JSON lines, each an object with "prompt" or "text"; empty lines are left out. Throws FormatError naming
 * file and line for anything else, or when there is no prompt at all.
 */
export function readPrompts(path: string): string[] {
  const file = openForReading(path)
  try {
    if (file.byteLength > MAX_BYTES)
      throw new FormatError(`Cannot read prompts from ${path}: it has ${file.byteLength} bytes, at most ${MAX_BYTES}`)
    const lines = new TextDecoder().decode(readRange(file, 0, file.byteLength)).split('\n')
    const prompts = lines.flatMap((text, i) => (text.trim() === '' ? [] : [promptOf(text, `${path} line ${i + 1}`)]))
    if (prompts.length === 0) throw new FormatError(`Cannot read prompts from ${path}: it has none: wanted JSON lines`)
    return prompts
  } finally {
    closeFile(file)
  }
}

function promptOf(text: string, where: string): string {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new FormatError(`Cannot read the prompt of ${where}: ${(cause as Error).message}`, { cause })
  }
  const parsed = line.safeParse(json)
  if (!parsed.success)
    throw new FormatError(`Cannot read the prompt of ${where}: wanted an object with "prompt" or "text", a string`)
  return 'prompt' in parsed.data ? parsed.data.prompt : parsed.data.text
}
