import type { Family } from './family.ts'
import { LLAMA } from './llama.ts'

/** Norms multiply by 1 + weight, the embedding by √hidden; 'gelu' always meant its tanh form. */
export const GEMMA: Family = {
  ...LLAMA,
  modelType: 'gemma',
  defaults: {
    ...LLAMA.defaults,
    kvHeads: 16,
    headDim: 256,
    maxPositions: 8192,
    activation: 'gelu_pytorch_tanh',
    tied: true,
  },
  norm: 'rms-plus-one',
  scaledEmbedding: true,
  activations: { gelu: 'gelu_pytorch_tanh' },
  biases: [{ when: { attention_bias: true }, roles: ['query', 'key', 'value', 'attentionOut'] }],
  only: { use_bidirectional_attention: [null, false] },
}

/** Norms before and behind attention and FF layer, soft caps, a window in every other layer. */
export const GEMMA2: Family = {
  ...GEMMA,
  modelType: 'gemma2',
  keys: {
    ...LLAMA.keys,
    activation: 'hidden_activation',
    slidingWindow: 'sliding_window',
    queryScalar: 'query_pre_attn_scalar',
    attentionSoftcap: 'attn_logit_softcapping',
    logitSoftcap: 'final_logit_softcapping',
  },
  defaults: {
    ...GEMMA.defaults,
    kvHeads: 4,
    slidingWindow: 4096,
    queryScalar: 256,
    attentionSoftcap: 50,
    logitSoftcap: 30,
  },
  tensors: {
    ...LLAMA.tensors,
    attentionPostNorm: 'model.layers.{i}.post_attention_layernorm',
    ffnNorm: 'model.layers.{i}.pre_feedforward_layernorm',
    ffnPostNorm: 'model.layers.{i}.post_feedforward_layernorm',
  },
  activations: {},
  sliding: { kind: 'interval', interval: 2 },
}

/** Norms of queries and keys instead of soft caps, and a rotary embedding of its own in layers with a window. */
export const GEMMA3_TEXT: Family = {
  ...GEMMA2,
  modelType: 'gemma3_text',
  keys: { ...GEMMA2.keys, attentionSoftcap: '' },
  defaults: { ...GEMMA2.defaults, maxPositions: 131_072, attentionSoftcap: null, logitSoftcap: null },
  tensors: {
    ...GEMMA2.tensors,
    queryNorm: 'model.layers.{i}.self_attn.q_norm',
    keyNorm: 'model.layers.{i}.self_attn.k_norm',
  },
  rope: { theta: 1_000_000, local: { key: 'rope_local_base_freq', theta: 10_000 } },
  sliding: { kind: 'interval', interval: 6, key: 'sliding_window_pattern' },
  // transformers reads the soft cap of attention and does not apply it.
  only: { use_bidirectional_attention: [false, null], attn_logit_softcapping: [null] },
}
