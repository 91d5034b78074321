import { UnsupportedError } from '../errors.ts'

/**
 * What llama.cpp's converter did to a tensor, to be undone: rows of a rotary head put in pairs, queries, keys and values
 * of a head collected by kind, 1 added to a norm, a matrix transposed.
 */
export type Change = 'query-pairs' | 'key-pairs' | 'qkv-by-kind' | 'plus-one' | 'transposed'

/** Where a tensor goes: its Hugging Face name without '.weight', '{i}' for the layer. */
export type Place = { readonly name: string; readonly change?: Change }

/** One `general.architecture`, as data. */
export type Architecture = {
  /** `model_type` of config.json. */
  readonly modelType: string
  /** Places by the file's own names without 'blk.N.' and '.weight'. */
  readonly tensors: Readonly<Record<string, Place>>
}

const LAYER = 'model.layers.{i}.'

const DENSE: Architecture['tensors'] = {
  token_embd: { name: 'model.embed_tokens' },
  output_norm: { name: 'model.norm' },
  output: { name: 'lm_head' },
  attn_norm: { name: `${LAYER}input_layernorm` },
  attn_q: { name: `${LAYER}self_attn.q_proj` },
  attn_k: { name: `${LAYER}self_attn.k_proj` },
  attn_v: { name: `${LAYER}self_attn.v_proj` },
  attn_output: { name: `${LAYER}self_attn.o_proj` },
  ffn_norm: { name: `${LAYER}post_attention_layernorm` },
  ffn_gate: { name: `${LAYER}mlp.gate_proj` },
  ffn_up: { name: `${LAYER}mlp.up_proj` },
  ffn_down: { name: `${LAYER}mlp.down_proj` },
}

const HEAD_NORMS: Architecture['tensors'] = {
  attn_q_norm: { name: `${LAYER}self_attn.q_norm` },
  attn_k_norm: { name: `${LAYER}self_attn.k_norm` },
}

/** The llama kinds rotate neighbours (2i, 2i + 1) where transformers rotates (i, i + d/2). */
const PAIRED: Architecture['tensors'] = {
  ...DENSE,
  attn_q: { name: `${LAYER}self_attn.q_proj`, change: 'query-pairs' },
  attn_k: { name: `${LAYER}self_attn.k_proj`, change: 'key-pairs' },
}

const GEMMA_TENSORS: Architecture['tensors'] = Object.fromEntries(
  Object.entries(DENSE).map(([key, place]) => [key, key.endsWith('norm') ? { ...place, change: 'plus-one' } : place]),
)

const GEMMA2_TENSORS: Architecture['tensors'] = {
  ...GEMMA_TENSORS,
  post_attention_norm: { name: `${LAYER}post_attention_layernorm`, change: 'plus-one' },
  ffn_norm: { name: `${LAYER}pre_feedforward_layernorm`, change: 'plus-one' },
  post_ffw_norm: { name: `${LAYER}post_feedforward_layernorm`, change: 'plus-one' },
}

const { attn_norm: _, ffn_norm: __, ...WITHOUT_PRE_NORMS } = DENSE

const GPT2_LAYER = 'transformer.h.{i}.'
const NEOX_LAYER = 'gpt_neox.layers.{i}.'

/** Architectures by their name in the file, which llama.cpp's convert_hf_to_gguf.py gives them. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  // Mistral's files carry this name too.
  llama: { modelType: 'llama', tensors: PAIRED },
  granite: { modelType: 'granite', tensors: PAIRED },
  smollm3: { modelType: 'smollm3', tensors: PAIRED },
  qwen2: { modelType: 'qwen2', tensors: DENSE },
  qwen3: { modelType: 'qwen3', tensors: { ...DENSE, ...HEAD_NORMS } },
  stablelm: { modelType: 'stablelm', tensors: DENSE },
  olmo2: {
    modelType: 'olmo2',
    tensors: {
      ...WITHOUT_PRE_NORMS,
      ...HEAD_NORMS,
      post_attention_norm: { name: `${LAYER}post_attention_layernorm` },
      post_ffw_norm: { name: `${LAYER}post_feedforward_layernorm` },
    },
  },
  phi3: {
    modelType: 'phi3',
    tensors: {
      ...DENSE,
      attn_qkv: { name: `${LAYER}self_attn.qkv_proj` },
      ffn_up: { name: `${LAYER}mlp.gate_up_proj` },
    },
  },
  gemma: { modelType: 'gemma', tensors: GEMMA_TENSORS },
  gemma2: { modelType: 'gemma2', tensors: GEMMA2_TENSORS },
  gemma3: {
    modelType: 'gemma3_text',
    tensors: {
      ...GEMMA2_TENSORS,
      attn_q_norm: { name: `${LAYER}self_attn.q_norm`, change: 'plus-one' },
      attn_k_norm: { name: `${LAYER}self_attn.k_norm`, change: 'plus-one' },
    },
  },
  gpt2: {
    modelType: 'gpt2',
    tensors: {
      token_embd: { name: 'transformer.wte' },
      position_embd: { name: 'transformer.wpe' },
      output_norm: { name: 'transformer.ln_f' },
      output: { name: 'lm_head' },
      attn_norm: { name: `${GPT2_LAYER}ln_1` },
      attn_qkv: { name: `${GPT2_LAYER}attn.c_attn`, change: 'transposed' },
      attn_output: { name: `${GPT2_LAYER}attn.c_proj`, change: 'transposed' },
      ffn_norm: { name: `${GPT2_LAYER}ln_2` },
      ffn_up: { name: `${GPT2_LAYER}mlp.c_fc`, change: 'transposed' },
      ffn_down: { name: `${GPT2_LAYER}mlp.c_proj`, change: 'transposed' },
    },
  },
  gptneox: {
    modelType: 'gpt_neox',
    tensors: {
      token_embd: { name: 'gpt_neox.embed_in' },
      output_norm: { name: 'gpt_neox.final_layer_norm' },
      output: { name: 'embed_out' },
      attn_norm: { name: `${NEOX_LAYER}input_layernorm` },
      attn_qkv: { name: `${NEOX_LAYER}attention.query_key_value`, change: 'qkv-by-kind' },
      attn_output: { name: `${NEOX_LAYER}attention.dense` },
      ffn_norm: { name: `${NEOX_LAYER}post_attention_layernorm` },
      ffn_up: { name: `${NEOX_LAYER}mlp.dense_h_to_4h` },
      ffn_down: { name: `${NEOX_LAYER}mlp.dense_4h_to_h` },
    },
  },
}

/** The architecture of that name. Throws UnsupportedError naming `path` and the architectures there are. */
export function architectureOf(name: string, path: string): Architecture {
  if (Object.hasOwn(ARCHITECTURES, name)) return ARCHITECTURES[name]!
  throw new UnsupportedError(
    `Cannot use ${path}: its architecture is "${name}", supported are ${Object.keys(ARCHITECTURES).join(', ')}`,
  )
}

/** Rotary factors belong to the configuration; they are no weights of their own. */
const FACTORS: readonly string[] = ['rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight']
const NAME = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/

/**
 * Where a tensor of the file goes, its full Hugging Face name filled in; undefined for rotary factors. Throws
 * UnsupportedError for a tensor that the architecture does not have: leaving it out would change the model.
 */
export function placeOf(tensor: string, { modelType, tensors }: Architecture, path: string): Place | undefined {
  if (FACTORS.includes(tensor)) return undefined
  const [, layer, key, part] = NAME.exec(tensor) ?? []
  const place = key !== undefined && Object.hasOwn(tensors, key) ? tensors[key] : undefined
  if (!place || place.name.includes('{i}') !== (layer !== undefined))
    throw new UnsupportedError(
      `Cannot use ${path}: tensor "${tensor}" has no place in a ${modelType} model: it is another kind of model`,
    )
  return { ...place, name: `${place.name.replace('{i}', layer ?? '')}.${part}` }
}
