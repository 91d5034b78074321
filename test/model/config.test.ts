import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { FormatError, UnsupportedError } from '../../src/errors.ts'
import type { ModelConfig } from '../../src/model/config.ts'
import { parseConfig, readConfig } from '../../src/model/config.ts'

const GOLDEN = path.join(import.meta.dirname, '../golden')
const SUPPORTED = fs.readdirSync(path.join(GOLDEN, 'config-v4')).map((file) => path.basename(file, '.json'))
const json = (file: string): Record<string, unknown> =>
  JSON.parse(fs.readFileSync(path.join(GOLDEN, file), 'utf8')) as Record<string, unknown>
const BASE = json('models/llama/config.json')
const parse = (change: Record<string, unknown>): ModelConfig => parseConfig({ ...BASE, ...change }, 'config.json')

describe('readConfig()', () => {
  it('reads llama3-rope', () => {
    expect(readConfig(path.join(GOLDEN, 'models/llama3-rope'))).toEqual({
      modelType: 'llama',
      hidden: 48,
      ff: 136,
      layers: 2,
      heads: 4,
      kvHeads: 2,
      headDim: 12,
      vocab: 288,
      normEps: 1e-5,
      rope: {
        type: 'llama3',
        theta: 10000,
        factor: 8,
        lowFreqFactor: 1,
        highFreqFactor: 4,
        originalMaxPositions: 32,
      },
      tied: false,
      maxPositions: 128,
      activation: 'silu',
      slidingWindow: null,
      slidingLayers: 'all',
      noRopeLayers: [],
      norm: 'rms',
      localRope: null,
      rotaryDim: 12,
      gated: true,
      parallel: false,
      attentionScale: 12 ** -0.5,
      attentionSoftcap: null,
      logitSoftcap: null,
      logitScale: 1,
      embeddingScale: 1,
      residualScale: 1,
      biases: [],
      bosTokenId: 1,
      eosTokenIds: [2],
      dtype: 'float32',
    })
  })

  it.each(SUPPORTED)('gives the same for %s with the keys of transformers 4', (name) => {
    const v4 = parseConfig(json(`config-v4/${name}.json`), 'config.json')
    expect(v4).toEqual(readConfig(path.join(GOLDEN, 'models', name)))
  })

  it.each([
    ['absurd-layers', FormatError, 'num_hidden_layers is 1000000000, expected at most 10000'],
    ['fractional-size', FormatError, 'intermediate_size is 160.5, expected a whole number'],
    ['heads-do-not-divide', FormatError, 'num_attention_heads is 5, expected a divisor of hidden_size, which is 64'],
    ['is-array', FormatError, 'the top level is a list, expected an object'],
    ['kv-heads-do-not-divide', FormatError, 'num_key_value_heads is 3, expected a divisor of num_attention_heads'],
    ['missing-hidden-size', FormatError, 'hidden_size is missing, expected a number'],
    ['missing-model-type', FormatError, 'model_type is missing, expected a string'],
    ['negative-layers', FormatError, 'num_hidden_layers is -2, expected at least 1'],
    ['not-json', FormatError, 'it is not JSON'],
    ['string-number', FormatError, 'hidden_size is the string "64", expected a number'],
    ['unknown-activation', UnsupportedError, 'hidden_act is "wiggle", supported are silu'],
    ['unknown-model-type', UnsupportedError, 'model_type is "qllama9", closest known is llama'],
    ['unknown-rope', UnsupportedError, 'rope_type is "spiral", supported are default, linear'],
  ])('refuses malformed/config-%s in one line that names the file', (name, kind, message) => {
    const folder = path.join(GOLDEN, 'malformed', `config-${name}`)
    const open = (): unknown => readConfig(folder)
    expect(open).toThrow(kind)
    expect(open).toThrow(message)
    expect(open).toThrow(path.join(folder, 'config.json'))
    expect(open).not.toThrow(/\n/)
  })

  it('covers every malformed config there is', () => {
    const folders = fs.readdirSync(path.join(GOLDEN, 'malformed')).filter((name) => name.startsWith('config-'))
    expect(folders).toHaveLength(13)
  })

  it('reports a folder without config.json', () => {
    expect(() => readConfig(path.join(GOLDEN, 'numeric'))).toThrow(/config\.json: no such file/)
  })
})

describe('parseConfig()', () => {
  it('takes missing optional keys as transformers does', () => {
    const { model_type, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size } = BASE
    const required = { model_type, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size }
    expect(parseConfig(required, 'config.json')).toMatchObject({
      kvHeads: 4,
      headDim: 16,
      normEps: 1e-6,
      rope: { type: 'default', theta: 10000 },
      tied: false,
      maxPositions: 2048,
      activation: 'silu',
      biases: [],
      bosTokenId: null,
      eosTokenIds: [],
      dtype: null,
    })
  })

  it('gives mistral a window only where the file has one, or leaves it to the default of 4096', () => {
    const { sliding_window: _, ...mistral } = json('models/mistral/config.json')
    const windowOf = (change: object): number | null => parseConfig({ ...mistral, ...change }, '').slidingWindow
    expect([windowOf({ sliding_window: null }), windowOf({ sliding_window: 9 }), windowOf({})]).toEqual([null, 9, 4096])
    expect(parse({ sliding_window: 9 }).slidingWindow).toBe(null) // llama has no such key
  })

  it('honours biases', () => {
    expect(parse({ attention_bias: true }).biases).toEqual(['query', 'key', 'value', 'attentionOut'])
    expect(parse({ mlp_bias: true }).biases).toEqual(['gate', 'up', 'down'])
  })

  it('reads several end-of-text tokens, and the old name of the rope type', () => {
    expect(parse({ eos_token_id: [5, 9] }).eosTokenIds).toEqual([5, 9])
    const { rope_parameters: _, ...old } = BASE
    const { rope } = parseConfig({ ...old, rope_theta: 5e5, rope_scaling: { type: 'linear', factor: 2 } }, '')
    expect(rope).toEqual({ type: 'linear', theta: 5e5, factor: 2 })
  })

  it.each([
    ['qwen2_moe', 'qwen2'],
    ['gemma3', 'gemma'],
    ['Phi-3', 'phi'],
    ['stablelm_epoch', 'stablelm'],
  ])('names the family closest to %s', (model_type, known) => {
    expect(() => parse({ model_type })).toThrow(UnsupportedError)
    expect(() => parse({ model_type })).toThrow(`model_type is "${model_type}", closest known is ${known}`)
  })

  it('gives windows to the layers that layer_types names, or to those of the rule of the family', () => {
    const layersOf = (change: object): unknown =>
      parseConfig({ ...json('config-v4/gemma2.json'), ...change }, '').slidingLayers
    expect(layersOf({})).toEqual([0, 2])
    expect(layersOf({ layer_types: ['full_attention', 'sliding_attention', 'full_attention'] })).toEqual([1])
    expect(() => layersOf({ layer_types: ['full_attention'] })).toThrow(/layer_types has 1 entries, expected 3/)
    expect(() => layersOf({ layer_types: Array(3).fill('linear_attention') })).toThrow(UnsupportedError)
    const qwen = { ...json('config-v4/qwen2.json'), use_sliding_window: true, sliding_window: 4, max_window_layers: 1 }
    expect(parseConfig(qwen, '')).toMatchObject({ slidingWindow: 4, slidingLayers: [1] })
    expect(parseConfig({ ...qwen, use_sliding_window: false }, '').slidingWindow).toBe(null)
  })

  it.each([
    ['opt', { do_layer_norm_before: false }],
    ['opt', { _remove_final_layer_norm: true }],
    ['opt', { word_embed_proj_dim: 32 }],
    ['gpt2', { scale_attn_by_inverse_layer_idx: true }],
    ['gpt2', { scale_attn_weights: false }],
    ['gpt2', { add_cross_attention: true }],
    ['gemma2', { use_bidirectional_attention: true }],
    ['llama', { is_encoder_decoder: true }],
    ['llama', { rope_scaling: { rope_type: 'default', mrope_section: [2, 3, 3] } }],
  ])('refuses %s with %o, naming the key', (name, change) => {
    const [key] = Object.keys(change)
    const changed = (): unknown => parseConfig({ ...json(`config-v4/${name}.json`), ...change }, 'config.json')
    expect(changed).toThrow(UnsupportedError)
    expect(changed).toThrow(key!)
  })

  it.each([
    [
      'phi3 with 128k positions',
      {
        model_type: 'phi3',
        hidden_size: 3072,
        intermediate_size: 8192,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        vocab_size: 32064,
        max_position_embeddings: 131072,
        original_max_position_embeddings: 4096,
        sliding_window: 262144,
        rope_scaling: { type: 'su', short_factor: Array(48).fill(1), long_factor: Array(48).fill(2) },
      },
      { rope: { type: 'longrope', originalMaxPositions: 4096, attentionFactor: Math.sqrt(1 + 5 / 12) }, kvHeads: 32 },
    ],
    [
      'gemma3 with its older keys',
      {
        model_type: 'gemma3_text',
        hidden_size: 1152,
        intermediate_size: 6912,
        num_hidden_layers: 7,
        num_attention_heads: 4,
        num_key_value_heads: 1,
        vocab_size: 262144,
        rope_theta: 1e6,
        rope_local_base_freq: 10000,
        rope_scaling: { rope_type: 'linear', factor: 8 },
        sliding_window: 512,
        sliding_window_pattern: 6,
      },
      {
        rope: { type: 'linear', theta: 1e6, factor: 8 },
        localRope: { type: 'default', theta: 10000 },
        slidingLayers: [0, 1, 2, 3, 4, 6],
        headDim: 256,
        attentionScale: 1 / 16,
        embeddingScale: Math.sqrt(1152),
        tied: true,
      },
    ],
    [
      'smollm3 with its list of layers',
      {
        model_type: 'smollm3',
        hidden_size: 2048,
        intermediate_size: 11008,
        num_hidden_layers: 4,
        num_attention_heads: 16,
        vocab_size: 128256,
        no_rope_layers: [1, 1, 1, 0],
        use_sliding_window: false,
        layer_types: Array(4).fill('full_attention'),
        rope_scaling: null,
        rope_theta: 5e6,
      },
      { noRopeLayers: [3], slidingWindow: null, rope: { type: 'default', theta: 5e6 }, kvHeads: 4, tied: true },
    ],
    [
      'falcon with one key head',
      {
        model_type: 'falcon',
        hidden_size: 4544,
        num_hidden_layers: 32,
        num_attention_heads: 71,
        num_kv_heads: 71,
        vocab_size: 65024,
        alibi: false,
        bias: false,
        multi_query: true,
        parallel_attn: true,
        new_decoder_architecture: false,
      },
      { kvHeads: 1, headDim: 64, ff: 18176, parallel: true, gated: false, activation: 'gelu' },
    ],
    [
      'qwen2 with yarn',
      {
        model_type: 'qwen2',
        hidden_size: 896,
        intermediate_size: 4864,
        num_hidden_layers: 24,
        num_attention_heads: 14,
        num_key_value_heads: 2,
        vocab_size: 151936,
        max_window_layers: 21,
        sliding_window: 32768,
        use_sliding_window: false,
        rope_theta: 1e6,
        rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 32768 },
      },
      { rope: { type: 'yarn', factor: 4, betaFast: 32, attentionFactor: 0.1 * Math.log(4) + 1 }, slidingWindow: null },
    ],
  ])('reads the config of %s as it is published', (_, published, wanted) => {
    expect(parseConfig(published, '')).toMatchObject(wanted)
  })

  it.each([
    [{ quantization_config: { quant_method: 'gptq' } }, /quantization_config/],
    [{ rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.5 } }, /partial_rotary_factor is 0.5/],
    [{ rope_parameters: { rope_type: 'llama3' } }, /low_freq_factor is missing/],
    [{ rope_parameters: 7 }, /rope_parameters is 7/],
    [{ head_dim: 15 }, /head_dim is 15, expected an even number/],
    [{ rms_norm_eps: 0 }, /rms_norm_eps is 0, expected more than 0/],
    [{ tie_word_embeddings: 'yes' }, /tie_word_embeddings is the string "yes", expected a boolean/],
    [{ eos_token_id: 'end' }, /eos_token_id is the string "end", expected a token id or a list of them/],
    [{ vocab_size: 2 ** 40 }, /vocab_size is 1099511627776, expected at most 16777216/],
  ])('refuses %o', (change, message) => {
    expect(() => parse(change)).toThrow(message)
  })
})
