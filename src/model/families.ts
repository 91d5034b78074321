import { z } from 'zod'
import { UnsupportedError } from '../errors.ts'
import type { Family, Plain, When } from './families/family.ts'
import { GEMMA, GEMMA2, GEMMA3_TEXT } from './families/gemma.ts'
import { FALCON, GPT2, GPT_NEOX, OPT, PHI } from './families/gpt.ts'
import { GRANITE, LLAMA, MISTRAL, OLMO2, PHI3, QWEN2, QWEN3, SMOLLM3, STABLELM } from './families/llama.ts'
import { field } from './field.ts'
import { kindOf } from './json.ts'

export type { ConfigField, Family, TensorRole } from './families/family.ts'

/** Every family there is. */
export const FAMILIES: readonly Family[] = [
  LLAMA,
  MISTRAL,
  QWEN2,
  QWEN3,
  GEMMA,
  GEMMA2,
  GEMMA3_TEXT,
  GPT2,
  GPT_NEOX,
  OPT,
  PHI,
  PHI3,
  OLMO2,
  STABLELM,
  GRANITE,
  FALCON,
  SMOLLM3,
]

/** Keys that change the function of any model, and the only values that are implemented. */
const ONLY: Readonly<Record<string, readonly Plain[]>> = { is_encoder_decoder: [false, null] }

/**
 * The family of a config.json, with the variants that its switches ask for. Throws UnsupportedError for an unknown
 * `model_type`, naming the closest known one, and for a key whose value is not implemented.
 */
export function familyOf(json: Readonly<Record<string, unknown>>, file: string): Family {
  const modelType = field(json, 'model_type', z.string(), file)
  const family = FAMILIES.find((one) => one.modelType === modelType)
  if (!family)
    throw new UnsupportedError(
      `Cannot use ${file}: model_type is "${modelType}", closest known is ${closest(modelType)} ` +
        `(supported are ${FAMILIES.map((one) => one.modelType).join(', ')})`,
    )
  const resolved = family.variants
    .filter(({ when }) => holds(when, family, json, file))
    .reduce<Family>((made, { change }) => ({ ...made, ...change }), family)
  for (const [key, values] of Object.entries({ ...ONLY, ...resolved.only })) assertOnly(json, key, values, file)
  return resolved
}

/** Whether the switches of a file meet the conditions. Throws FormatError for a switch that is no plain value. */
export function holds(
  when: When,
  { switches }: Pick<Family, 'switches'>,
  json: Readonly<Record<string, unknown>>,
  file: string,
): boolean {
  return Object.entries(when).every(([key, wanted]) => {
    const standard = switches[key]
    if (standard === undefined) throw new RangeError(`Family table: "${key}" is no switch`)
    const schema: z.ZodType<Plain | undefined> =
      typeof standard === 'boolean' ? z.boolean().nullish() : z.int().nullish()
    const value = field(json, key, schema, file) ?? standard
    return ([wanted].flat() as Plain[]).includes(value)
  })
}

function assertOnly(
  json: Readonly<Record<string, unknown>>,
  key: string,
  values: readonly Plain[],
  file: string,
): void {
  const value = json[key]
  if (value === undefined || values.some((one) => one === value)) return
  throw new UnsupportedError(
    `Cannot use ${file}: ${key} is ${kindOf(value)}, supported is ${values.map((one) => String(one)).join(' or ')}`,
  )
}

/** The family whose name is nearest by edit distance (Levenshtein 1966). */
function closest(modelType: string): string {
  const distances = FAMILIES.map((one) => editDistance(modelType.toLowerCase().slice(0, 64), one.modelType))
  return FAMILIES[distances.indexOf(Math.min(...distances))]!.modelType
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1]))
    row = next
  }
  return row[b.length]!
}
