import type { Family, TensorRole } from './family.ts'
import { LLAMA } from './llama.ts'

const NORMS: readonly TensorRole[] = ['attentionNorm', 'ffnNorm', 'finalNorm']
const MATRICES: readonly TensorRole[] = ['query', 'key', 'value', 'attentionOut', 'up', 'down']

/** Learned positions, LayerNorm, one matrix for queries, keys and values, matrices stored (in, out). */
export const GPT2: Family = {
  ...LLAMA,
  modelType: 'gpt2',
  keys: {
    ...LLAMA.keys,
    hidden: 'n_embd',
    ff: 'n_inner',
    layers: 'n_layer',
    heads: 'n_head',
    kvHeads: '',
    headDim: '',
    normEps: 'layer_norm_epsilon',
    maxPositions: 'n_positions',
    activation: 'activation_function',
  },
  defaults: {
    ...LLAMA.defaults,
    ff: null,
    normEps: 1e-5,
    maxPositions: 1024,
    activation: 'gelu_new',
    tied: true,
  },
  ffMultiple: 4,
  tensors: {
    embedding: 'transformer.wte',
    positions: 'transformer.wpe',
    attentionNorm: 'transformer.h.{i}.ln_1',
    qkv: 'transformer.h.{i}.attn.c_attn',
    attentionOut: 'transformer.h.{i}.attn.c_proj',
    ffnNorm: 'transformer.h.{i}.ln_2',
    up: 'transformer.h.{i}.mlp.c_fc',
    down: 'transformer.h.{i}.mlp.c_proj',
    finalNorm: 'transformer.ln_f',
    head: 'lm_head',
  },
  prefix: 'transformer.',
  biases: [{ roles: [...NORMS, 'qkv', 'attentionOut', 'up', 'down'] }],
  transposed: true,
  norm: 'layer',
  rope: null,
  switches: {},
  only: {
    scale_attn_weights: [true],
    scale_attn_by_inverse_layer_idx: [false],
    add_cross_attention: [false],
  },
}

/** Pythia: parallel residual, part of each head rotated, queries, keys and values side by side for each head. */
export const GPT_NEOX: Family = {
  ...LLAMA,
  modelType: 'gpt_neox',
  keys: { ...LLAMA.keys, kvHeads: '', headDim: '', normEps: 'layer_norm_eps' },
  defaults: { ...LLAMA.defaults, normEps: 1e-5, activation: 'gelu' },
  tensors: {
    embedding: 'gpt_neox.embed_in',
    attentionNorm: 'gpt_neox.layers.{i}.input_layernorm',
    qkv: 'gpt_neox.layers.{i}.attention.query_key_value',
    attentionOut: 'gpt_neox.layers.{i}.attention.dense',
    ffnNorm: 'gpt_neox.layers.{i}.post_attention_layernorm',
    up: 'gpt_neox.layers.{i}.mlp.dense_h_to_4h',
    down: 'gpt_neox.layers.{i}.mlp.dense_4h_to_h',
    finalNorm: 'gpt_neox.final_layer_norm',
    head: 'embed_out',
  },
  biases: [{ roles: [...NORMS, 'up', 'down'] }, { when: { attention_bias: true }, roles: ['qkv', 'attentionOut'] }],
  qkvOrder: 'grouped',
  norm: 'layer',
  parallel: true,
  rope: { theta: 10_000, share: 0.25, thetaKey: 'rotary_emb_base', shareKey: 'rotary_pct' },
  switches: { attention_bias: true, use_parallel_residual: true },
  variants: [{ when: { use_parallel_residual: false }, change: { parallel: false } }],
}

/** Learned positions that begin at row 2. */
export const OPT: Family = {
  ...LLAMA,
  modelType: 'opt',
  keys: {
    ...LLAMA.keys,
    ff: 'ffn_dim',
    kvHeads: '',
    headDim: '',
    normEps: '',
    activation: 'activation_function',
  },
  defaults: { ...LLAMA.defaults, normEps: 1e-5, activation: 'relu', tied: true },
  tensors: {
    embedding: 'model.decoder.embed_tokens',
    positions: 'model.decoder.embed_positions',
    attentionNorm: 'model.decoder.layers.{i}.self_attn_layer_norm',
    query: 'model.decoder.layers.{i}.self_attn.q_proj',
    key: 'model.decoder.layers.{i}.self_attn.k_proj',
    value: 'model.decoder.layers.{i}.self_attn.v_proj',
    attentionOut: 'model.decoder.layers.{i}.self_attn.out_proj',
    ffnNorm: 'model.decoder.layers.{i}.final_layer_norm',
    up: 'model.decoder.layers.{i}.fc1',
    down: 'model.decoder.layers.{i}.fc2',
    finalNorm: 'model.decoder.final_layer_norm',
    head: 'lm_head',
  },
  prefix: 'model.',
  biases: [{ roles: NORMS }, { when: { enable_bias: true }, roles: MATRICES }],
  norm: 'layer',
  rope: null,
  positionOffset: 2,
  switches: { enable_bias: true },
  only: {
    do_layer_norm_before: [true],
    _remove_final_layer_norm: [false],
    layer_norm_elementwise_affine: [true],
  },
  sameAsHidden: ['word_embed_proj_dim'],
}

/** Attention and FF layer read the same normed hidden states. */
export const PHI: Family = {
  ...LLAMA,
  modelType: 'phi',
  keys: { ...LLAMA.keys, normEps: 'layer_norm_eps' },
  defaults: { ...LLAMA.defaults, normEps: 1e-5, activation: 'gelu_new' },
  tensors: {
    embedding: 'model.embed_tokens',
    attentionNorm: 'model.layers.{i}.input_layernorm',
    query: 'model.layers.{i}.self_attn.q_proj',
    key: 'model.layers.{i}.self_attn.k_proj',
    value: 'model.layers.{i}.self_attn.v_proj',
    attentionOut: 'model.layers.{i}.self_attn.dense',
    ffnNorm: 'model.layers.{i}.input_layernorm',
    up: 'model.layers.{i}.mlp.fc1',
    down: 'model.layers.{i}.mlp.fc2',
    finalNorm: 'model.final_layernorm',
    head: 'lm_head',
  },
  biases: [{ roles: [...NORMS, ...MATRICES, 'head'] }],
  norm: 'layer',
  parallel: true,
  rope: { theta: 10_000, share: 0.5 },
  switches: {},
  only: { qk_layernorm: [false] },
}

const FALCON_TENSORS: Family['tensors'] = {
  embedding: 'transformer.word_embeddings',
  attentionNorm: 'transformer.h.{i}.input_layernorm',
  qkv: 'transformer.h.{i}.self_attention.query_key_value',
  attentionOut: 'transformer.h.{i}.self_attention.dense',
  ffnNorm: 'transformer.h.{i}.input_layernorm',
  up: 'transformer.h.{i}.mlp.dense_h_to_4h',
  down: 'transformer.h.{i}.mlp.dense_4h_to_h',
  finalNorm: 'transformer.ln_f',
  head: 'lm_head',
}
const FALCON_KEYS: Family['keys'] = {
  ...LLAMA.keys,
  ff: 'ffn_hidden_size',
  kvHeads: '',
  headDim: '',
  normEps: 'layer_norm_epsilon',
  activation: 'activation',
}
const FALCON_DEFAULTS: Family['defaults'] = {
  ...LLAMA.defaults,
  ff: null,
  kvHeads: 1,
  normEps: 1e-5,
  activation: 'gelu',
  tied: true,
}

/** One key head (multi_query), as many as heads, or some (new_decoder_architecture); attention and FF layer in parallel. */
export const FALCON: Family = {
  ...LLAMA,
  modelType: 'falcon',
  keys: FALCON_KEYS,
  defaults: FALCON_DEFAULTS,
  ffMultiple: 4,
  tensors: FALCON_TENSORS,
  biases: [{ roles: NORMS }, { when: { bias: true }, roles: ['qkv', 'attentionOut', 'up', 'down'] }],
  qkvOrder: 'grouped',
  norm: 'layer',
  parallel: true,
  switches: {
    bias: false,
    multi_query: true,
    parallel_attn: true,
    new_decoder_architecture: false,
    num_ln_in_parallel_attn: null,
  },
  variants: [
    {
      when: { new_decoder_architecture: false, multi_query: false },
      change: { defaults: { ...FALCON_DEFAULTS, kvHeads: null } },
    },
    {
      when: { new_decoder_architecture: false, parallel_attn: false },
      change: {
        parallel: false,
        tensors: { ...FALCON_TENSORS, ffnNorm: 'transformer.h.{i}.post_attention_layernorm' },
      },
    },
    {
      when: { new_decoder_architecture: true },
      change: {
        keys: { ...FALCON_KEYS, kvHeads: 'num_kv_heads' },
        defaults: { ...FALCON_DEFAULTS, kvHeads: null },
        only: { alibi: [false], parallel_attn: [true] },
      },
    },
    {
      when: { new_decoder_architecture: true, num_ln_in_parallel_attn: [null, 2] },
      change: {
        tensors: {
          ...FALCON_TENSORS,
          attentionNorm: 'transformer.h.{i}.ln_attn',
          ffnNorm: 'transformer.h.{i}.ln_mlp',
        },
      },
    },
  ],
  only: { alibi: [false] },
}
