import { FormatError } from '../errors.ts'
import type { GgufFile } from '../formats/gguf/reader.ts'
import type { Architecture } from './gguf-architectures.ts'
import type { GgufMetadata } from './gguf-metadata.ts'
import { ropeConfig } from './gguf-rope.ts'

type Json = Record<string, unknown>

/**
 * The config.json of a GGUF file, in the keys of transformers. Throws FormatError for keys that are missing or wrong,
 * UnsupportedError for a rotary scaling without words in config.json.
 */
export function configOf(file: GgufFile, meta: GgufMetadata, { modelType }: Architecture): Json {
  const sizes = sizesOf(file, meta)
  const config = {
    model_type: modelType,
    ...tokenIds(meta),
    tie_word_embeddings: !file.tensors.has('output.weight'),
    vocab_size: sizes.vocab,
  }
  if (modelType === 'gpt2') return { ...config, ...gpt2Keys(meta, sizes) }
  return { ...config, ...commonKeys(file, meta, sizes), ...keysOf(modelType, file, meta, sizes) }
}

type Sizes = {
  readonly vocab: number
  readonly hidden: number
  readonly ff: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
}

function sizesOf(file: GgufFile, meta: GgufMetadata): Sizes {
  const [vocab] = file.get('token_embd.weight').shape
  const hidden = meta.whole('.embedding_length')
  const heads = meta.whole('.attention.head_count')
  if (heads < 1 || hidden < 1)
    throw new FormatError(`Cannot read ${meta.path}: it has ${heads} heads on ${hidden} dimensions, expected 1 or more`)
  return {
    vocab: vocab!,
    hidden,
    ff: meta.whole('.feed_forward_length'),
    layers: meta.whole('.block_count'),
    heads,
    kvHeads: meta.whole('.attention.head_count_kv', heads),
    headDim: meta.whole('.attention.key_length', Math.floor(hidden / heads)),
  }
}

/** Ends of text: the end-of-turn token too, where a chat model has one of its own. */
function tokenIds(meta: GgufMetadata): Json {
  const id = (name: string): number[] =>
    meta.has(`tokenizer.ggml.${name}_token_id`) ? [meta.whole(`tokenizer.ggml.${name}_token_id`)] : []
  const ends = [...new Set([...id('eos'), ...id('eot')])]
  const [bos] = id('bos')
  return {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(ends.length === 0 ? {} : { eos_token_id: ends.length === 1 ? ends[0] : ends }),
  }
}

function gpt2Keys(meta: GgufMetadata, sizes: Sizes): Json {
  return {
    n_embd: sizes.hidden,
    n_inner: sizes.ff,
    n_layer: sizes.layers,
    n_head: sizes.heads,
    n_positions: meta.whole('.context_length'),
    layer_norm_epsilon: meta.number('.attention.layer_norm_epsilon'),
    activation_function: 'gelu_new',
  }
}

function commonKeys(file: GgufFile, meta: GgufMetadata, sizes: Sizes): Json {
  const { hidden, ff, layers, heads, kvHeads, headDim } = sizes
  const rotated = meta.whole('.rope.dimension_count', headDim)
  const layerNorm = meta.has('.attention.layer_norm_epsilon')
  return {
    hidden_size: hidden,
    intermediate_size: ff,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    hidden_act: 'silu',
    max_position_embeddings: meta.whole('.context_length'),
    attention_bias: file.tensors.has('blk.0.attn_q.bias'),
    [layerNorm ? 'layer_norm_eps' : 'rms_norm_eps']: layerNorm
      ? meta.number('.attention.layer_norm_epsilon')
      : meta.number('.attention.layer_norm_rms_epsilon'),
    ...ropeConfig(meta, file, rotated),
    ...(rotated === headDim ? {} : { partial_rotary_factor: rotated / headDim }),
  }
}

/** What an architecture has besides. */
function keysOf(modelType: string, file: GgufFile, meta: GgufMetadata, sizes: Sizes): Json {
  switch (modelType) {
    case 'gemma':
    case 'gemma2':
    case 'gemma3_text':
      return gemmaKeys(modelType, meta, sizes)
    case 'granite':
      return {
        attention_multiplier: meta.number('.attention.scale', 1),
        embedding_multiplier: meta.number('.embedding_scale', 1),
        residual_multiplier: meta.number('.residual_scale', 1),
        logits_scaling: meta.number('.logit_scale', 1),
      }
    case 'phi3':
      return {
        sliding_window: slidingWindow(meta),
        original_max_position_embeddings: meta.whole(
          '.rope.scaling.original_context_length',
          meta.whole('.context_length'),
        ),
      }
    case 'stablelm':
      return {
        use_qkv_bias: file.tensors.has('blk.0.attn_q.bias'),
        use_parallel_residual: !file.tensors.has('blk.0.ffn_norm.weight'),
      }
    case 'gpt_neox':
      return {
        hidden_act: 'gelu',
        attention_bias: true,
        use_parallel_residual: meta.flag('.use_parallel_residual', true),
        rotary_pct: meta.whole('.rope.dimension_count', sizes.headDim) / sizes.headDim,
      }
    default:
      return {}
  }
}

// The largest Gemma 2 and 3 scale queries by their share of the hidden size (llama.cpp, llama-model.cpp).
const LARGEST: Readonly<Record<string, number>> = { gemma2: 46, gemma3_text: 62 }

function gemmaKeys(modelType: string, meta: GgufMetadata, { hidden, heads, headDim, layers }: Sizes): Json {
  const activation = { hidden_act: 'gelu_pytorch_tanh', hidden_activation: 'gelu_pytorch_tanh' }
  if (modelType === 'gemma') return activation
  const cap = (key: string): number | null => (meta.has(key) ? meta.number(key) : null)
  return {
    ...activation,
    query_pre_attn_scalar: layers === LARGEST[modelType] ? Math.floor(hidden / heads) : headDim,
    sliding_window: slidingWindow(meta),
    attn_logit_softcapping: cap('.attn_logit_softcapping'),
    final_logit_softcapping: cap('.final_logit_softcapping'),
    ...(modelType === 'gemma3_text' ? { rope_local_base_freq: 10_000, sliding_window_pattern: 6 } : {}),
  }
}

/** Zero, or none at all, means that every key is seen. */
function slidingWindow(meta: GgufMetadata): number | null {
  const window = meta.whole('.attention.sliding_window', 0)
  return window > 0 ? window : null
}
