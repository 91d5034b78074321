import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readFamilyConfig } from '../../../src/model/config.ts'
import { ggufObstacles } from '../../../src/pipeline/convert/gguf-hparams.ts'
import { blockObstacles } from '../../../src/pipeline/convert/moe-obstacles.ts'

const golden = (name: string): ReturnType<typeof readFamilyConfig> =>
  readFamilyConfig(join(import.meta.dirname, '../../golden/models', name))

describe('blockObstacles()', () => {
  it.each(['llama', 'llama-bf16', 'llama-linear', 'llama-dynamic', 'llama-yarn', 'llama3-rope', 'mistral', 'phi3'])(
    'blockObstacles() finds none in %s',
    (name) => {
      const { config, family } = golden(name)
      expect(blockObstacles(config, family)).toEqual([])
    },
  )

  it.each([
    ['qwen2', ['biases (query, key, value)']],
    ['qwen3', ['norms of queries and keys']],
    ['smollm3', ['layers without rotary embedding']],
    ['olmo2', ['norms of queries and keys', 'norms behind a layer']],
    ['gemma', ['norms that multiply by 1 + weight', 'multipliers of embedding, residual or logits']],
    ['gpt2', ['learned positions', 'LayerNorm', 'FF layers without a gate', 'fused or transposed matrices']],
    ['granite', ['a scale of attention of its own', 'multipliers of embedding, residual or logits']],
    ['falcon', ['LayerNorm', 'parallel attention and FF layer', 'FF layers without a gate']],
    ['stablelm', ['LayerNorm', 'a rotary embedding of 4 of 8 dimensions']],
  ])('blockObstacles() names what %s has', (name, wanted) => {
    const { config, family } = golden(name)
    expect(blockObstacles(config, family)).toEqual(expect.arrayContaining(wanted))
  })
})

describe('ggufObstacles()', () => {
  it.each([
    ['llama', []],
    ['llama-linear', []],
    ['llama-yarn', []],
    ['llama3-rope', []],
    ['llama-dynamic', ['the rotary scaling dynamic']],
    ['phi3-longrope', ['the rotary scaling longrope']],
    ['mistral-window', ['a window of 8 keys']],
    ['gemma', ['the activation gelu_tanh']],
  ])('ggufObstacles() of %s: %o', (name, wanted) => {
    expect(ggufObstacles(golden(name).config)).toEqual(wanted)
  })
})
