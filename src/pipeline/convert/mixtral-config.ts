import type { Activation } from '../../model/config.ts'
import type { MoeSource } from './moe-source.ts'

type Json = Record<string, unknown>

/** transformers' names of the activations. */
const ACTIVATIONS: Readonly<Record<Activation, string>> = {
  silu: 'silu',
  gelu: 'gelu',
  gelu_tanh: 'gelu_pytorch_tanh',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
}

/**
 * config.json of a Mixtral model. Numbers that could be whole and that transformers 5 wants as floats are left to their
 * defaults: JSON from here has no 0.0. `rope_theta` and `rope_scaling` are how transformers 4 says a rotary embedding; version 5
 * reads them too.
 */
export function mixtralConfig({ config, json, family, experts }: MoeSource, computeType: string): Json {
  const { hidden, heads, headDim } = config
  return {
    architectures: ['MixtralForCausalLM'],
    model_type: 'mixtral',
    attention_dropout: 0,
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds,
    head_dim: headDim,
    hidden_act: ACTIVATIONS[config.activation],
    hidden_size: hidden,
    initializer_range: 0.02,
    intermediate_size: config.ff,
    max_position_embeddings: json[family.keys.maxPositions] ?? config.maxPositions,
    num_attention_heads: heads,
    num_experts_per_tok: 1,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    num_local_experts: experts,
    output_router_logits: false,
    ...(json['pad_token_id'] === undefined ? {} : { pad_token_id: json['pad_token_id'] }),
    rms_norm_eps: config.normEps,
    ...ropeOf({ config, json }),
    sliding_window: config.slidingWindow,
    tie_word_embeddings: false,
    torch_dtype: computeType,
    vocab_size: config.vocab,
  }
}

/** The dictionary of the source, whichever version wrote it, under the kind's present name. */
function ropeOf({ config, json }: Pick<MoeSource, 'config' | 'json'>): Json {
  const rope = config.rope!
  if (rope.type === 'default') return { rope_theta: rope.theta, rope_scaling: null }
  const given = (json['rope_parameters'] ?? json['rope_scaling']) as Json
  const { rope_theta: _, partial_rotary_factor: __, type: ___, ...scaling } = given
  const original = scaling['original_max_position_embeddings'] ?? json['original_max_position_embeddings']
  return {
    rope_theta: rope.theta,
    rope_scaling: {
      ...scaling,
      rope_type: rope.type,
      ...(original === undefined ? {} : { original_max_position_embeddings: original }),
    },
  }
}
