import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { field } from '../model/field.ts'
import { readJsonObject } from '../model/json.ts'
import { readConfig } from '../model/config.ts'
import type { Tokenizer } from '../model/tokenizer.ts'

const MAX_FILE_BYTES = 10_000_000
const id = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)

/** generation_config.json of a model folder; {} where there is none. Throws FormatError when it is no JSON object. */
export function generationConfig(folder: string): Readonly<Record<string, unknown>> {
  const file = join(folder, 'generation_config.json')
  return existsSync(file) ? readJsonObject(file, MAX_FILE_BYTES) : {}
}

/**
 * Tokens that end a text of a model, ascending: `eos_token_id` of generation_config.json (where chat models name the end
 * of a turn) and of config.json, and the tokenizer's own end-of-text token.
 */
export function stopTokens(folder: string, { separatorId }: Pick<Tokenizer, 'separatorId'>): number[] {
  const file = join(folder, 'generation_config.json')
  const more = field(generationConfig(folder), 'eos_token_id', z.union([id, z.array(id)]).nullish(), file)
  const all = new Set([more ?? [], readConfig(folder).eosTokenIds, separatorId].flat())
  return [...all].sort((a, b) => a - b)
}
