import { z } from 'zod'
import { fusedAttention } from '../../../export/attention.ts'
import type { ModelConfig } from '../../model/config.ts'
import { field } from '../../model/field.ts'

/** Families that onnxruntime-genai has a `type` of the same name for; 'decoder' is its name for any other. */
const TYPES = [
  'gemma',
  'gemma2',
  'gemma3_text',
  'granite',
  'llama',
  'mistral',
  'phi',
  'phi3',
  'qwen2',
  'qwen3',
  'smollm3',
]
/** Its gpt2 is no other: that type has key and value caches in one tensor, our graphs have two. */
const ANY_DECODER = 'decoder'

/** Above this, a cache of the whole context would be allocated before the first token. */
const MAX_LENGTH = 4096

export type GenaiConfigOptions = {
  /** Tokens that end a text; the first is the padding too. */
  readonly stopIds: readonly number[]
  /** File of the operator library in the same folder. */
  readonly operators?: string
  /** generation_config.json of the model: how it wants to be sampled. */
  readonly generation: Readonly<Record<string, unknown>>
  /** Where `generation` comes from, for messages. */
  readonly generationFile: string
}

/** What genai_config.json says, as far as it is known here. */
export type GenaiConfig = {
  readonly model: Readonly<Record<string, unknown>> & { readonly type: string; readonly context_length: number }
  readonly search: Readonly<Record<string, unknown>> & { readonly max_length: number }
}

/**
 * genai_config.json for `model.onnx` of an artifact. The cache is one buffer of `max_length` tokens where attention is
 * GroupQueryAttention, which writes into it; the standard operators give a new one in every step.
 */
export function genaiConfig(config: ModelConfig, options: GenaiConfigOptions): GenaiConfig {
  const { stopIds, operators } = options
  const library = operators === undefined ? {} : { custom_ops_library: operators }
  return {
    model: {
      bos_token_id: config.bosTokenId ?? stopIds[0]!,
      context_length: config.maxPositions,
      decoder: {
        session_options: { log_id: 'onnxruntime-genai', ...library, provider_options: [] },
        filename: 'model.onnx',
        head_size: config.headDim,
        hidden_size: config.hidden,
        inputs: {
          input_ids: 'input_ids',
          attention_mask: 'attention_mask',
          past_key_names: 'past_key_values.%d.key',
          past_value_names: 'past_key_values.%d.value',
        },
        outputs: {
          logits: 'logits',
          present_key_names: 'present.%d.key',
          present_value_names: 'present.%d.value',
        },
        num_attention_heads: config.heads,
        num_hidden_layers: config.layers,
        num_key_value_heads: config.kvHeads,
      },
      eos_token_id: stopIds.length === 1 ? stopIds[0]! : stopIds,
      pad_token_id: stopIds[0]!,
      type: TYPES.includes(config.modelType) ? config.modelType : ANY_DECODER,
      vocab_size: config.vocab,
    },
    search: {
      ...sampling(options),
      max_length: Math.min(config.maxPositions, MAX_LENGTH),
      min_length: 0,
      num_beams: 1,
      num_return_sequences: 1,
      past_present_share_buffer: fusedAttention(config),
    },
  }
}

const number = z.number().nullish()
const KEYS = {
  do_sample: z.boolean().nullish(),
  temperature: number,
  top_k: number,
  top_p: number,
  repetition_penalty: number,
  length_penalty: number,
}
const DEFAULTS = { do_sample: false, temperature: 1, top_k: 50, top_p: 1, repetition_penalty: 1, length_penalty: 1 }

/** How the model wants to be sampled; what it does not say is as transformers has it. */
function sampling({ generation, generationFile }: GenaiConfigOptions): Record<string, unknown> {
  const own = Object.entries(KEYS).map(([key, schema]): [string, unknown] => [
    key,
    field<unknown>(generation, key, schema, generationFile) ?? DEFAULTS[key as keyof typeof KEYS],
  ])
  return Object.fromEntries(own)
}
