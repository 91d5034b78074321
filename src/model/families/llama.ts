import type { Family, TensorRole } from './family.ts'

const QKV: readonly TensorRole[] = ['query', 'key', 'value']
const ATTENTION: readonly TensorRole[] = [...QKV, 'attentionOut']

/** Others are written as differences from this one. */
export const LLAMA: Family = {
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
    queryScalar: '',
    attentionMultiplier: '',
    attentionSoftcap: '',
    logitSoftcap: '',
    logitDivisor: '',
    embeddingMultiplier: '',
    residualMultiplier: '',
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
    queryScalar: null,
    attentionMultiplier: null,
    attentionSoftcap: null,
    logitSoftcap: null,
    logitDivisor: 1,
    embeddingMultiplier: 1,
    residualMultiplier: 1,
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
    { when: { attention_bias: true }, roles: ATTENTION },
    { when: { mlp_bias: true }, roles: ['gate', 'up', 'down'] },
  ],
  slices: [],
  transposed: false,
  qkvOrder: 'joined',
  norm: 'rms',
  qkNorm: 'head',
  parallel: false,
  rope: { theta: 10_000 },
  positionOffset: 0,
  sliding: { kind: 'none' },
  noRope: false,
  scaledEmbedding: false,
  switches: { attention_bias: false, mlp_bias: false },
  variants: [],
  only: {},
}

export const MISTRAL: Family = {
  ...LLAMA,
  modelType: 'mistral',
  keys: { ...LLAMA.keys, slidingWindow: 'sliding_window' },
  defaults: { ...LLAMA.defaults, kvHeads: 8, maxPositions: 131072, slidingWindow: 4096 },
  sliding: { kind: 'all' },
  biases: [],
}

export const QWEN2: Family = {
  ...LLAMA,
  modelType: 'qwen2',
  defaults: { ...LLAMA.defaults, kvHeads: 32, maxPositions: 32768 },
  biases: [{ roles: QKV }],
  switches: { use_sliding_window: false },
  variants: [
    {
      when: { use_sliding_window: true },
      change: {
        keys: { ...LLAMA.keys, slidingWindow: 'sliding_window' },
        defaults: { ...LLAMA.defaults, kvHeads: 32, maxPositions: 32768, slidingWindow: 4096 },
        sliding: { kind: 'max-window-layers' },
      },
    },
  ],
}

export const QWEN3: Family = {
  ...QWEN2,
  modelType: 'qwen3',
  defaults: { ...QWEN2.defaults, headDim: 128 },
  tensors: {
    ...LLAMA.tensors,
    queryNorm: 'model.layers.{i}.self_attn.q_norm',
    keyNorm: 'model.layers.{i}.self_attn.k_norm',
  },
  biases: [{ when: { attention_bias: true }, roles: ATTENTION }],
  switches: { use_sliding_window: false, attention_bias: false },
  variants: QWEN2.variants.map(({ when, change }) => ({
    when,
    change: { ...change, defaults: { ...change.defaults, headDim: 128 } },
  })),
}

/** Fused matrices hold what llama has, one below the other. */
export const PHI3: Family = {
  ...LLAMA,
  modelType: 'phi3',
  keys: { ...LLAMA.keys, slidingWindow: 'sliding_window' },
  defaults: { ...LLAMA.defaults, normEps: 1e-5, maxPositions: 4096 },
  biases: [],
  slices: [
    { from: 'model.layers.{i}.self_attn.qkv_proj', into: QKV },
    { from: 'model.layers.{i}.mlp.gate_up_proj', into: ['gate', 'up'] },
  ],
  sliding: { kind: 'all' },
  rope: { theta: 10_000, share: 1, renamed: { su: 'longrope', yarn: 'longrope' } },
}

export const GRANITE: Family = {
  ...LLAMA,
  modelType: 'granite',
  keys: {
    ...LLAMA.keys,
    attentionMultiplier: 'attention_multiplier',
    logitDivisor: 'logits_scaling',
    embeddingMultiplier: 'embedding_multiplier',
    residualMultiplier: 'residual_multiplier',
  },
  defaults: { ...LLAMA.defaults, attentionMultiplier: 1 },
}

/** Every `no_rope_layer_interval`th layer has no rotary embedding. */
export const SMOLLM3: Family = {
  ...LLAMA,
  modelType: 'smollm3',
  defaults: { ...LLAMA.defaults, kvHeads: 4, maxPositions: 32768, tied: true },
  switches: { attention_bias: false, mlp_bias: false, use_sliding_window: false },
  rope: { theta: 2_000_000 },
  noRope: true,
  variants: [
    {
      when: { use_sliding_window: true },
      change: { keys: { ...LLAMA.keys, slidingWindow: 'sliding_window' }, sliding: { kind: 'no-rope-layers' } },
    },
  ],
}

/** Norms stand behind attention and FF layer, none in front; queries and keys are normed over all heads. */
export const OLMO2: Family = {
  ...LLAMA,
  modelType: 'olmo2',
  defaults: { ...LLAMA.defaults, normEps: 1e-5 },
  tensors: {
    embedding: 'model.embed_tokens',
    query: 'model.layers.{i}.self_attn.q_proj',
    key: 'model.layers.{i}.self_attn.k_proj',
    value: 'model.layers.{i}.self_attn.v_proj',
    queryNorm: 'model.layers.{i}.self_attn.q_norm',
    keyNorm: 'model.layers.{i}.self_attn.k_norm',
    attentionOut: 'model.layers.{i}.self_attn.o_proj',
    attentionPostNorm: 'model.layers.{i}.post_attention_layernorm',
    gate: 'model.layers.{i}.mlp.gate_proj',
    up: 'model.layers.{i}.mlp.up_proj',
    down: 'model.layers.{i}.mlp.down_proj',
    ffnPostNorm: 'model.layers.{i}.post_feedforward_layernorm',
    finalNorm: 'model.norm',
    head: 'lm_head',
  },
  qkNorm: 'all',
  biases: [{ when: { attention_bias: true }, roles: ATTENTION }],
}

export const STABLELM: Family = {
  ...LLAMA,
  modelType: 'stablelm',
  keys: { ...LLAMA.keys, normEps: 'layer_norm_eps' },
  defaults: { ...LLAMA.defaults, kvHeads: 32, normEps: 1e-5, maxPositions: 4096 },
  norm: 'layer',
  biases: [{ roles: ['attentionNorm', 'ffnNorm', 'finalNorm'] }, { when: { use_qkv_bias: true }, roles: QKV }],
  rope: { theta: 10_000, share: 0.25 },
  switches: { use_qkv_bias: false, use_parallel_residual: false },
  variants: [
    {
      when: { use_parallel_residual: true },
      change: { parallel: true, tensors: { ...LLAMA.tensors, ffnNorm: LLAMA.tensors.attentionNorm! } },
    },
  ],
  only: { qk_layernorm: [false] },
}
