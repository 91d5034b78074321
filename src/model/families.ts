import { UnsupportedError } from '../errors.ts'

/** What a weight is for, whatever a family calls it. */
export type TensorRole =
  | 'embedding'
  | 'attentionNorm'
  | 'query'
  | 'key'
  | 'value'
  | 'attentionOut'
  | 'ffnNorm'
  | 'gate'
  | 'up'
  | 'down'
  | 'finalNorm'
  | 'head'

/** Sizes and switches of config.json that a family may name in its own way. */
export type ConfigField =
  | 'hidden'
  | 'ff'
  | 'layers'
  | 'heads'
  | 'kvHeads'
  | 'headDim'
  | 'vocab'
  | 'normEps'
  | 'maxPositions'
  | 'activation'
  | 'tied'
  | 'slidingWindow'

/** One family of decoder models, as data: the code that reads and runs models asks here and nowhere else. */
export type Family = {
  /** `model_type` of config.json. */
  readonly modelType: string
  /** Keys of config.json. */
  readonly keys: Readonly<Record<ConfigField, string>>
  /** Values of keys that config.json leaves out, as transformers defines them; a field without one is required. */
  readonly defaults: Readonly<Partial<Record<ConfigField, number | string | boolean | null>>>
  /** Tensor names without '.weight' and '.bias'; '{i}' stands for the layer. */
  readonly tensors: Readonly<Record<TensorRole, string>>
  /** Which matrices have biases: those of `roles` when the boolean key `when` of config.json is true. */
  readonly biases: readonly { readonly when: string; readonly roles: readonly TensorRole[] }[]
}

const LLAMA: Family = {
  modelType: 'llama',
  keys: {
    hidden: 'hidden_size',
    ff: 'intermediate_size',
    layers: 'num_hidden_layers',
    heads: 'num_attention_heads',
    kvHeads: 'num_key_value_heads',
    headDim: 'head_dim',
    vocab: 'vocab_size',
    normEps: 'rms_norm_eps',
    maxPositions: 'max_position_embeddings',
    activation: 'hidden_act',
    tied: 'tie_word_embeddings',
    slidingWindow: '', // full attention in every layer, whatever the file says
  },
  // kvHeads null: as many as heads. headDim null: hidden / heads.
  defaults: {
    kvHeads: null,
    headDim: null,
    normEps: 1e-6,
    maxPositions: 2048,
    activation: 'silu',
    tied: false,
    slidingWindow: null,
  },
  tensors: {
    embedding: 'model.embed_tokens',
    attentionNorm: 'model.layers.{i}.input_layernorm',
    query: 'model.layers.{i}.self_attn.q_proj',
    key: 'model.layers.{i}.self_attn.k_proj',
    value: 'model.layers.{i}.self_attn.v_proj',
    attentionOut: 'model.layers.{i}.self_attn.o_proj',
    ffnNorm: 'model.layers.{i}.post_attention_layernorm',
    gate: 'model.layers.{i}.mlp.gate_proj',
    up: 'model.layers.{i}.mlp.up_proj',
    down: 'model.layers.{i}.mlp.down_proj',
    finalNorm: 'model.norm',
    head: 'lm_head',
  },
  biases: [
    { when: 'attention_bias', roles: ['query', 'key', 'value', 'attentionOut'] },
    { when: 'mlp_bias', roles: ['gate', 'up', 'down'] },
  ],
}

const MISTRAL: Family = {
  ...LLAMA,
  modelType: 'mistral',
  keys: { ...LLAMA.keys, slidingWindow: 'sliding_window' },
  defaults: { ...LLAMA.defaults, kvHeads: 8, maxPositions: 131072, slidingWindow: 4096 },
  biases: [],
}

const FAMILIES: ReadonlyMap<string, Family> = new Map([LLAMA, MISTRAL].map((family) => [family.modelType, family]))

/** The family of a `model_type`. Throws UnsupportedError, naming `path` and the families there are. */
export function familyOf(modelType: string, path: string): Family {
  const family = FAMILIES.get(modelType)
  if (!family)
    throw new UnsupportedError(
      `Cannot use ${path}: model_type is "${modelType}", supported are ${[...FAMILIES.keys()].join(', ')}`,
    )
  return family
}
