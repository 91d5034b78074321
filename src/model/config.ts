import path from 'node:path'
import { z } from 'zod'
import { FormatError, UnsupportedError } from '../errors.ts'
import type { ConfigField, Family, TensorRole } from './families.ts'
import { familyOf } from './families.ts'
import { field } from './field.ts'
import { readJsonObject } from './json.ts'
import type { Rope } from './rope.ts'
import { readRope } from './rope-config.ts'

/** Non-linearities of the FF layer that the graphs know. */
export const ACTIVATIONS = ['silu'] as const
export type Activation = (typeof ACTIVATIONS)[number]

/** What config.json says, in our words and checked; equal for the key names of transformers 4 and 5. */
export type ModelConfig = {
  readonly modelType: string
  readonly hidden: number
  /** Neurons of an FF layer. */
  readonly ff: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly vocab: number
  /** Added to the mean square in every norm. */
  readonly normEps: number
  readonly rope: Rope
  /** The head is the embedding matrix. */
  readonly tied: boolean
  readonly maxPositions: number
  readonly activation: Activation
  /** Keys a query sees, itself included; null: all before it. */
  readonly slidingWindow: number | null
  /** Matrices that have a bias vector. */
  readonly biases: readonly TensorRole[]
  readonly bosTokenId: number | null
  readonly eosTokenIds: readonly number[]
  /** Element type the weights were saved in, as the file says ('bfloat16'). */
  readonly dtype: string | null
}

/** A real config.json has a few kB; per-layer lists may make it longer. */
const MAX_CONFIG_BYTES = 10_000_000
// Bounds against lying files, far above any model there is: a loop over layers or a product of sizes must stay sane.
const MAX_LAYERS = 10_000
const MAX_SIZE = 16_777_216 // 2^24: counts stay exact in float32 and products of two exact in float64

const size = z.int().min(1).max(MAX_SIZE)
const SCHEMAS = {
  hidden: size,
  ff: size,
  layers: z.int().min(1).max(MAX_LAYERS),
  heads: size,
  kvHeads: size.nullable(),
  headDim: size.nullable(),
  vocab: size,
  normEps: z.number().positive().max(1),
  maxPositions: z
    .int()
    .min(1)
    .max(2 ** 31),
  activation: z.string(),
  tied: z.boolean(),
  slidingWindow: z.int().min(1).nullable(),
} satisfies Record<ConfigField, z.ZodType>
const tokenId = z.int().min(0).max(MAX_SIZE)

/**
 * Reads and checks `config.json` of a model folder. Throws FormatError naming file, field, got and wanted;
 * UnsupportedError for a family, rope type, activation or quantisation that this version does not know.
 */
export function readConfig(folder: string): ModelConfig {
  const file = path.join(folder, 'config.json')
  return parseConfig(readJsonObject(file, MAX_CONFIG_BYTES), file)
}

/** Checks the object of a config.json; `file` is only named in errors. Throws as readConfig does. */
export function parseConfig(json: Readonly<Record<string, unknown>>, file: string): ModelConfig {
  const family = familyOf(field(json, 'model_type', z.string(), file), file)
  const get = <F extends ConfigField>(name: F): z.output<(typeof SCHEMAS)[F]> => familyField(json, family, name, file)
  if (json['quantization_config'] !== undefined && json['quantization_config'] !== null)
    throw new UnsupportedError(
      `Cannot use ${file}: it has a quantization_config, supported are F32, F16 and BF16 weights: use the original model`,
    )
  const sizes = { hidden: get('hidden'), heads: get('heads'), kvHeads: get('kvHeads'), headDim: get('headDim') }
  const { headDim, kvHeads } = headShape(sizes, family, file)
  return {
    modelType: family.modelType,
    hidden: sizes.hidden,
    ff: get('ff'),
    layers: get('layers'),
    heads: sizes.heads,
    kvHeads,
    headDim,
    vocab: get('vocab'),
    normEps: get('normEps'),
    rope: readRope(json, file),
    tied: get('tied'),
    maxPositions: get('maxPositions'),
    activation: activationOf(get('activation'), family, file),
    slidingWindow: get('slidingWindow'),
    biases: biasesOf(json, family, file),
    bosTokenId: field(json, 'bos_token_id', tokenId.nullish(), file) ?? null,
    eosTokenIds: [field(json, 'eos_token_id', z.union([tokenId, z.array(tokenId)]).nullish(), file) ?? []].flat(),
    dtype: field(json, json['dtype'] === undefined ? 'torch_dtype' : 'dtype', z.string().nullish(), file) ?? null,
  }
}

function familyField<F extends ConfigField>(
  json: Readonly<Record<string, unknown>>,
  family: Family,
  name: F,
  file: string,
): z.output<(typeof SCHEMAS)[F]> {
  const key = family.keys[name]
  const fallback = family.defaults[name]
  // The compiler does not see that the schema of F gives the type of F.
  const schema = SCHEMAS[name] as unknown as z.ZodType<z.output<(typeof SCHEMAS)[F]>>
  if (fallback !== undefined && (key === '' || json[key] === undefined)) return schema.parse(fallback)
  return field(json, key, schema, file)
}

function headShape(
  sizes: { hidden: number; heads: number; kvHeads: number | null; headDim: number | null },
  family: Family,
  file: string,
): { headDim: number; kvHeads: number } {
  const { hidden, heads } = sizes
  const keys = family.keys
  const kvHeads = sizes.kvHeads ?? heads
  if (heads % kvHeads !== 0)
    throw new FormatError(
      `Cannot read ${file}: ${keys.kvHeads} is ${kvHeads}, expected a divisor of ${keys.heads}, which is ${heads}`,
    )
  if (sizes.headDim === null && hidden % heads !== 0)
    throw new FormatError(
      `Cannot read ${file}: ${keys.heads} is ${heads}, expected a divisor of ${keys.hidden}, which is ${hidden} ` +
        `(there is no ${keys.headDim})`,
    )
  const headDim = sizes.headDim ?? hidden / heads
  if (headDim % 2 !== 0)
    throw new FormatError(
      `Cannot read ${file}: ${keys.headDim} is ${headDim}, expected an even number (rotated in pairs)`,
    )
  return { headDim, kvHeads }
}

function activationOf(name: string, family: Family, file: string): Activation {
  const activation = ACTIVATIONS.find((known) => known === name || (known === 'silu' && name === 'swish'))
  if (!activation)
    throw new UnsupportedError(
      `Cannot use ${file}: ${family.keys.activation} is "${name}", supported are ${ACTIVATIONS.join(', ')}`,
    )
  return activation
}

/** FF biases are refused: the experts have none, so a mixture of such a model would be another model. */
function biasesOf(json: Readonly<Record<string, unknown>>, family: Family, file: string): TensorRole[] {
  const biases: TensorRole[] = []
  for (const { when, roles } of family.biases) {
    if (!field(json, when, z.boolean().nullish(), file)) continue
    if (roles.includes('down'))
      throw new UnsupportedError(`Cannot use ${file}: ${when} is true, supported are FF matrices without bias`)
    biases.push(...roles)
  }
  return biases
}
