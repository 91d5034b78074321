import { z } from 'zod'
import { FormatError, UnsupportedError } from '../errors.ts'
import { field } from './field.ts'
import type { Rope } from './rope.ts'

const DEFAULT_THETA = 10_000 // of transformers, for files without one

const positive = z.number().positive()

/**
 * The rotary embedding of a config.json: `rope_parameters` (transformers 5), else `rope_theta` and `rope_scaling`
 * (transformers 4). Throws FormatError for wrong values, UnsupportedError for a scaling that is not implemented.
 */
export function readRope(json: Readonly<Record<string, unknown>>, file: string): Rope {
  const key = json['rope_parameters'] === undefined ? 'rope_scaling' : 'rope_parameters'
  const scaling = field(json, key, z.record(z.string(), z.unknown()).nullish(), file) ?? {}
  const where = `${file}, ${key}`
  const outer = field(json, 'rope_theta', positive.nullish(), file)
  const theta = field(scaling, 'rope_theta', positive.nullish(), where) ?? outer ?? DEFAULT_THETA
  const share = field(scaling, 'partial_rotary_factor', z.number().nullish(), where) ?? 1
  if (share !== 1)
    throw new UnsupportedError(`Cannot use ${where}: partial_rotary_factor is ${share}, supported is 1 (all of a head)`)
  // Early files of transformers 4 say `type`.
  const typeKey = scaling['rope_type'] === undefined ? 'type' : 'rope_type'
  const type = field(scaling, typeKey, z.string().nullish(), where) ?? 'default'
  switch (type) {
    case 'default':
      return { type, theta }
    case 'llama3':
      return readLlama3(scaling, theta, where)
    default:
      throw new UnsupportedError(`Cannot use ${where}: ${typeKey} is "${type}", supported are default, llama3`)
  }
}

function readLlama3(scaling: Readonly<Record<string, unknown>>, theta: number, where: string): Rope {
  const lowFreqFactor = field(scaling, 'low_freq_factor', positive, where)
  const highFreqFactor = field(scaling, 'high_freq_factor', positive, where)
  if (highFreqFactor <= lowFreqFactor)
    throw new FormatError(
      `Cannot read ${where}: high_freq_factor is ${highFreqFactor}, expected more than low_freq_factor, ` +
        `which is ${lowFreqFactor}`,
    )
  return {
    type: 'llama3',
    theta,
    factor: field(scaling, 'factor', z.number().min(1), where),
    lowFreqFactor,
    highFreqFactor,
    originalMaxPositions: field(scaling, 'original_max_position_embeddings', z.int().min(1), where),
  }
}
