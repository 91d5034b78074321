import path from 'node:path'
import { z } from 'zod'
import { FormatError, UnsupportedError } from '../errors.ts'
import { fileInFolder } from '../formats/paths.ts'
import type { ConfigField, Family, TensorRole } from './families.ts'
import { familyOf, holds } from './families.ts'
import { field } from './field.ts'
import { kindOf, readJsonObject } from './json.ts'
import type { LayerKinds } from './layer-kinds.ts'
import { readLayerKinds } from './layer-kinds.ts'
import type { Rope } from './rope.ts'
import { readRopes } from './rope-config.ts'

/** Non-linearities of the FF layer that the graphs know, by the names that config.json has for them. */
const ACTIVATION_NAMES = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
} as const
export type Activation = (typeof ACTIVATION_NAMES)[keyof typeof ACTIVATION_NAMES]

/** What config.json says, in our words and checked; equal for the key names of transformers 4 and 5. */
export type ModelConfig = LayerKinds & {
  readonly modelType: string
  readonly hidden: number
  /** Neurons of an FF layer. */
  readonly ff: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly vocab: number
  readonly norm: Family['norm']
  /** Added to the mean square (LayerNorm: to the variance) in every norm. */
  readonly normEps: number
  /** Rotary embedding of a layer; null: learned positions. */
  readonly rope: Rope | null
  /** The same of layers with a window, where they have their own. */
  readonly localRope: Rope | null
  /** Leading dimensions of a head that are rotated. */
  readonly rotaryDim: number
  /** The head is the embedding matrix. */
  readonly tied: boolean
  readonly maxPositions: number
  readonly activation: Activation
  /** down(act(gate x) · up x), else down(act(up x)). */
  readonly gated: boolean
  /** Attention and FF layer both read what enters the block. */
  readonly parallel: boolean
  /** Scores are q · k times this. */
  readonly attentionScale: number
  /** Scores and logits become c · tanh(x / c); null: as they are. */
  readonly attentionSoftcap: number | null
  readonly logitSoftcap: number | null
  /** Logits are multiplied by this, hidden states of the embedding and what a block adds to them by those. */
  readonly logitScale: number
  readonly embeddingScale: number
  readonly residualScale: number
  /** Matrices and norms that have a bias vector. */
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
const factor = z.number().positive()
const SCHEMAS = {
  hidden: size,
  ff: size.nullable(),
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
  activation: z.string().nullable(),
  tied: z.boolean(),
  slidingWindow: z.int().min(1).nullable(),
  queryScalar: factor.nullable(),
  attentionMultiplier: factor.nullable(),
  attentionSoftcap: factor.nullable(),
  logitSoftcap: factor.nullable(),
  logitDivisor: factor,
  embeddingMultiplier: factor,
  residualMultiplier: factor,
} satisfies Record<ConfigField, z.ZodType>
type Get = <F extends ConfigField>(name: F) => z.output<(typeof SCHEMAS)[F]>
const tokenId = z.int().min(0).max(MAX_SIZE)

/**
 * Reads and checks `config.json` of a model folder. Throws FormatError naming file, field, got and wanted;
 * UnsupportedError for a family, rope type, activation or quantisation that this version does not know.
 */
export function readConfig(folder: string): ModelConfig {
  return readFamilyConfig(folder).config
}

/** readConfig() with the family, as its switches shape it. */
export function readFamilyConfig(folder: string): { readonly config: ModelConfig; readonly family: Family } {
  const file = fileInFolder(folder, 'config.json') ?? path.join(folder, 'config.json')
  const json = readJsonObject(file, MAX_CONFIG_BYTES)
  return { config: parseConfig(json, file), family: familyOf(json, file) }
}

/** Checks the object of a config.json; `file` is only named in errors. Throws as readConfig does. */
export function parseConfig(json: Readonly<Record<string, unknown>>, file: string): ModelConfig {
  const family = familyOf(json, file)
  const get: Get = (name) => familyField(json, family, name, file)
  if (json['quantization_config'] !== undefined && json['quantization_config'] !== null)
    throw new UnsupportedError(
      `Cannot use ${file}: it has a quantization_config, supported are F32, F16 and BF16 weights: use the original model`,
    )
  const sizes = { hidden: get('hidden'), heads: get('heads'), kvHeads: get('kvHeads'), headDim: get('headDim') }
  const { headDim, kvHeads } = headShape(sizes, family, file)
  for (const key of family.sameAsHidden ?? [])
    if ((json[key] ?? sizes.hidden) !== sizes.hidden)
      throw new UnsupportedError(
        `Cannot use ${file}: ${key} is ${kindOf(json[key])}, supported is ${family.keys.hidden}, which is ${sizes.hidden}`,
      )
  const [layers, slidingWindow] = [get('layers'), get('slidingWindow')]
  const maxPositions = get('maxPositions')
  const biases = family.biases.filter(({ when }) => !when || holds(when, family, json, file))
  return {
    modelType: family.modelType,
    hidden: sizes.hidden,
    ff: ffWidth(get('ff'), sizes.hidden, family, file),
    layers,
    heads: sizes.heads,
    kvHeads,
    headDim,
    vocab: get('vocab'),
    norm: family.norm,
    normEps: get('normEps'),
    ...readRopes(json, family.rope, { headDim, maxPositions }, file),
    ...readLayerKinds(json, family, layers, slidingWindow, file),
    tied: get('tied'),
    activation: activationOf(get('activation'), family, file),
    gated: family.tensors.gate !== undefined,
    parallel: family.parallel,
    attentionScale: get('attentionMultiplier') ?? (get('queryScalar') ?? headDim) ** -0.5,
    attentionSoftcap: get('attentionSoftcap'),
    logitSoftcap: get('logitSoftcap'),
    logitScale: 1 / get('logitDivisor'),
    embeddingScale: family.scaledEmbedding ? Math.sqrt(sizes.hidden) : get('embeddingMultiplier'),
    residualScale: get('residualMultiplier'),
    biases: biases.flatMap(({ roles }) => roles),
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

function ffWidth(given: number | null, hidden: number, { keys, ffMultiple }: Family, file: string): number {
  if (given !== null) return given
  if (ffMultiple === undefined) throw new FormatError(`Cannot read ${file}: ${keys.ff} is null, expected a number`)
  return ffMultiple * hidden
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
        `(there is no ${keys.headDim || 'size of a head'})`,
    )
  return { headDim: sizes.headDim ?? hidden / heads, kvHeads }
}

function activationOf(name: string | null, family: Family, file: string): Activation {
  const meant = family.activations?.[name ?? ''] ?? name ?? ''
  if (Object.hasOwn(ACTIVATION_NAMES, meant)) return ACTIVATION_NAMES[meant as keyof typeof ACTIVATION_NAMES]
  throw new UnsupportedError(
    `Cannot use ${file}: ${family.keys.activation} is "${name}", supported are ${Object.keys(ACTIVATION_NAMES).join(', ')}`,
  )
}
