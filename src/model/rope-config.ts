import { z } from 'zod'
import { FormatError, UnsupportedError } from '../errors.ts'
import type { RopeRule } from './families/family.ts'
import { field } from './field.ts'
import type { Rope } from './rope.ts'
import { readScaling } from './rope-scaling.ts'

type Json = Readonly<Record<string, unknown>>

/** The rotary embedding of a model, and how far positions go. */
export type Ropes = {
  readonly rope: Rope | null
  readonly localRope: Rope | null
  readonly rotaryDim: number
  readonly maxPositions: number
}

const positive = z.number().positive()
const dictionary = z.record(z.string(), z.unknown()).nullish()

/**
 * The rotary embedding of a config.json: `rope_parameters` (transformers 5), else `rope_theta` and `rope_scaling`
 * (transformers 4). Throws FormatError for wrong values, UnsupportedError for a scaling that is not implemented.
 */
export function readRopes(
  json: Json,
  rule: RopeRule | null,
  sizes: { readonly headDim: number; readonly maxPositions: number },
  file: string,
): Ropes {
  const { headDim, maxPositions } = sizes
  if (!rule) return { rope: null, localRope: null, rotaryDim: headDim, maxPositions }
  const key = json['rope_parameters'] === undefined ? 'rope_scaling' : 'rope_parameters'
  const given = field(json, key, dictionary, file) ?? {}
  const isNested = rule.local !== undefined && ('full_attention' in given || 'sliding_attention' in given)
  const part = (name: string): Json =>
    isNested ? (field(given, name, dictionary, `${file}, ${key}`) ?? {}) : name === 'full_attention' ? given : {}
  const scaling = part('full_attention')
  const rotaryDim = rotated(json, scaling, rule, headDim, `${file}, ${key}`)
  const read = (dictionaryOf: Json, theta: number): Rope =>
    readScaling(json, dictionaryOf, { theta, rotaryDim, maxPositions, renamed: rule.renamed ?? {} }, `${file}, ${key}`)
  const thetaOf = (name: string | undefined): number | undefined =>
    name === undefined ? undefined : (field(json, name, positive.nullish(), file) ?? undefined)
  const rope = read(scaling, thetaOf('rope_theta') ?? thetaOf(rule.thetaKey) ?? rule.theta)
  return {
    rope,
    localRope: rule.local ? read(part('sliding_attention'), thetaOf(rule.local.key) ?? rule.local.theta) : null,
    rotaryDim,
    // Dynamic scaling is for what lies beyond the trained positions; other kinds have counted that in.
    maxPositions: rope.type === 'dynamic' ? Math.floor(maxPositions * rope.factor) : maxPositions,
  }
}

/** How many dimensions of a head are rotated. */
function rotated(json: Json, scaling: Json, rule: RopeRule, headDim: number, where: string): number {
  const shareOf = (from: Json, key: string): number | undefined =>
    field(from, key, z.number().nullish(), where) ?? undefined
  const share =
    shareOf(scaling, 'partial_rotary_factor') ??
    shareOf(json, 'partial_rotary_factor') ??
    (rule.shareKey === undefined ? undefined : shareOf(json, rule.shareKey)) ??
    rule.share ??
    1
  if (share !== 1 && rule.share === undefined)
    throw new UnsupportedError(`Cannot use ${where}: partial_rotary_factor is ${share}, supported is 1 (all of a head)`)
  const dim = Math.floor(headDim * share)
  if (dim < 2 || dim > headDim || dim % 2 !== 0)
    throw new FormatError(
      share === 1
        ? `Cannot read ${where}: head_dim is ${headDim}, expected an even number (rotated in pairs)`
        : `Cannot read ${where}: partial_rotary_factor is ${share}, expected an even part of head_dim, which is ${headDim}`,
    )
  return dim
}
