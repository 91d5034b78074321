import { z } from 'zod'
import { FormatError, UnsupportedError } from '../errors.ts'
import { field } from './field.ts'
import type { Rope } from './rope.ts'

type Json = Readonly<Record<string, unknown>>

const positive = z.number().positive()
const count = z.int().min(1)

/** Keys of a dictionary that every kind may have, and those of each kind. */
const COMMON = ['type', 'rope_type', 'rope_theta', 'partial_rotary_factor']
const KEYS: Readonly<Record<Rope['type'], readonly string[]>> = {
  default: [],
  linear: ['factor'],
  dynamic: ['factor', 'original_max_position_embeddings'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
  yarn: [
    'factor',
    'attention_factor',
    'beta_fast',
    'beta_slow',
    'mscale',
    'mscale_all_dim',
    'truncate',
    'original_max_position_embeddings',
  ],
  longrope: ['factor', 'attention_factor', 'short_factor', 'long_factor', 'original_max_position_embeddings'],
}
const TYPES = Object.keys(KEYS) as Rope['type'][]

type Given = {
  /** Base where the dictionary has none. */
  readonly theta: number
  readonly rotaryDim: number
  readonly maxPositions: number
  readonly renamed: Readonly<Record<string, string>>
}

/**
 * One rotary embedding of a config.json, from its dictionary. Throws FormatError for wrong values, UnsupportedError for a
 * kind or key that is not implemented.
 */
export function readScaling(json: Json, scaling: Json, given: Given, where: string): Rope {
  const theta = field(scaling, 'rope_theta', positive.nullish(), where) ?? given.theta
  // Early files of transformers 4 say `type`.
  const typeKey = scaling['rope_type'] === undefined ? 'type' : 'rope_type'
  const name = field(scaling, typeKey, z.string().nullish(), where) ?? 'default'
  const meant = given.renamed[name] ?? name
  const type = TYPES.find((known) => known === meant)
  if (!type)
    throw new UnsupportedError(`Cannot use ${where}: ${typeKey} is "${name}", supported are ${TYPES.join(', ')}`)
  const foreign = Object.keys(scaling).find((key) => ![...COMMON, ...KEYS[type]].includes(key))
  if (foreign !== undefined)
    throw new UnsupportedError(
      `Cannot use ${where}: it has ${foreign}, supported with "${type}" are ${KEYS[type].join(', ')}`,
    )
  const original = (): number =>
    field(json, 'original_max_position_embeddings', count.nullish(), where) ??
    field(scaling, 'original_max_position_embeddings', count.nullish(), where) ??
    given.maxPositions
  const factor = (): number => field(scaling, 'factor', z.number().min(1), where)
  switch (type) {
    case 'default':
      return { type, theta }
    case 'linear':
      return { type, theta, factor: factor() }
    case 'dynamic':
      // transformers counts from max_position_embeddings, whatever original_… says.
      return { type, theta, factor: factor(), originalMaxPositions: given.maxPositions }
    case 'llama3':
      return { ...readLlama3(scaling, where), theta, factor: factor(), originalMaxPositions: original() }
    case 'yarn':
      return { ...readYarn(scaling, given.maxPositions, original(), where), theta }
    case 'longrope':
      return { ...readLongrope(scaling, given, original(), where), theta }
  }
}

function readLlama3(
  scaling: Json,
  where: string,
): Pick<Extract<Rope, { type: 'llama3' }>, 'type' | 'lowFreqFactor' | 'highFreqFactor'> {
  const lowFreqFactor = field(scaling, 'low_freq_factor', positive, where)
  const highFreqFactor = field(scaling, 'high_freq_factor', positive, where)
  if (highFreqFactor <= lowFreqFactor)
    throw new FormatError(
      `Cannot read ${where}: high_freq_factor is ${highFreqFactor}, expected more than low_freq_factor, ` +
        `which is ${lowFreqFactor}`,
    )
  return { type: 'llama3', lowFreqFactor, highFreqFactor }
}

function readYarn(
  scaling: Json,
  maxPositions: number,
  originalMaxPositions: number,
  where: string,
): Omit<Extract<Rope, { type: 'yarn' }>, 'theta'> {
  const optional = (key: string): number | undefined => field(scaling, key, positive.nullish(), where) ?? undefined
  const factor = optional('factor') ?? maxPositions / originalMaxPositions
  const [mscale, mscaleAll] = [optional('mscale'), optional('mscale_all_dim')]
  const scale = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1)
  return {
    type: 'yarn',
    factor,
    betaFast: optional('beta_fast') ?? 32,
    betaSlow: optional('beta_slow') ?? 1,
    truncate: field(scaling, 'truncate', z.boolean().nullish(), where) ?? true,
    originalMaxPositions,
    attentionFactor:
      optional('attention_factor') ??
      (mscale !== undefined && mscaleAll !== undefined ? scale(mscale) / scale(mscaleAll) : scale(1)),
  }
}

function readLongrope(
  scaling: Json,
  { maxPositions, rotaryDim }: Given,
  originalMaxPositions: number,
  where: string,
): Omit<Extract<Rope, { type: 'longrope' }>, 'theta'> {
  const list = (key: string): readonly number[] => {
    const factors = field(scaling, key, z.array(positive), where)
    if (factors.length !== rotaryDim / 2)
      throw new FormatError(`Cannot read ${where}: ${key} has ${factors.length} numbers, expected ${rotaryDim / 2}`)
    return factors
  }
  const factor = field(scaling, 'factor', positive.nullish(), where) ?? maxPositions / originalMaxPositions
  const attentionFactor = field(scaling, 'attention_factor', positive.nullish(), where)
  return {
    type: 'longrope',
    shortFactor: list('short_factor'),
    longFactor: list('long_factor'),
    originalMaxPositions,
    attentionFactor:
      attentionFactor ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions))),
  }
}
