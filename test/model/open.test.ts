import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { FormatError, UnsupportedError } from '../../src/errors.ts'
import { assertFinite, openModel, shapeOf } from '../../src/model/open.ts'
import { changedModel, floatTensor } from '../fixtures/model-folder.ts'

const MODELS = path.join(import.meta.dirname, '../golden/models')

describe('openModel()', () => {
  it('names tensors by role and layer, the tied head by the embedding', () => {
    const model = openModel(path.join(MODELS, 'llama'))
    expect(model.tensorName('down', 1)).toBe('model.layers.1.mlp.down_proj.weight')
    expect(model.tensorName('query', 0, 'bias')).toBe('model.layers.0.self_attn.q_proj.bias')
    expect(model.tensorName('head')).toBe('model.embed_tokens.weight')
    expect(model.tensor('down', 1).shape).toEqual(shapeOf('down', model.config))
    expect(() => model.tensorName('down')).toThrow(RangeError)
    expect(() => model.tensorName('finalNorm', 0)).toThrow(RangeError)
    model.close()
  })

  it('reads an untied head from a shard', () => {
    const model = openModel(path.join(MODELS, 'llama-sharded'))
    expect(model.tensorName('head')).toBe('lm_head.weight')
    expect(model.tensor('head').shape).toEqual([288, 48])
    model.close()
  })

  it("follows the links of the hub's cache to where the weights are, and no link out of a folder", () => {
    const cache = fs.mkdtempSync(path.join(os.tmpdir(), 'spexpand-links-'))
    const repository = path.join(cache, 'models--owner--name')
    const snapshot = path.join(repository, 'snapshots', '0'.repeat(40))
    const plain = path.join(cache, 'plain')
    for (const folder of [snapshot, plain]) fs.mkdirSync(folder, { recursive: true })
    fs.cpSync(path.join(MODELS, 'llama'), path.join(repository, 'blobs'), { recursive: true })
    for (const file of ['config.json', 'model.safetensors']) {
      fs.symlinkSync(path.join('../../blobs', file), path.join(snapshot, file))
      fs.symlinkSync(path.join(repository, 'blobs', file), path.join(plain, file))
    }
    const model = openModel(snapshot)
    expect(model.dataFolder).toBe(fs.realpathSync(path.join(repository, 'blobs')))
    model.close()
    expect(() => openModel(plain)).toThrow(/config\.json: it is a link that leads out of its folder/)
    fs.copyFileSync(path.join(MODELS, 'llama', 'config.json'), path.join(cache, 'config.json'))
    fs.rmSync(path.join(plain, 'config.json'))
    fs.copyFileSync(path.join(cache, 'config.json'), path.join(plain, 'config.json'))
    expect(() => openModel(plain)).toThrow(/model\.safetensors: it is a link that leads out of its folder/)
    fs.rmSync(cache, { recursive: true })
  })

  it.each([
    ['a missing tensor', { tensors: { 'model.norm.weight': null } }, FormatError, /"model.norm.weight"/],
    [
      'a wrong shape',
      { tensors: { 'model.layers.1.mlp.up_proj.weight': floatTensor([144, 63], () => 0) } },
      FormatError,
      /"model.layers.1.mlp.up_proj.weight" of .*: its shape is \[144, 63\], config.json asks for \[144, 64\]/,
    ],
    [
      'integer weights',
      { tensors: { 'model.norm.weight': { dtype: 'I32' as const, shape: [64], bytes: new Uint8Array(256) } } },
      UnsupportedError,
      /its dtype is I32, supported are F32, F16, BF16/,
    ],
    ['a missing bias', { config: { attention_bias: true } }, FormatError, /"model.layers.0.self_attn.q_proj.bias"/],
    ['a missing head', { config: { tie_word_embeddings: false } }, FormatError, /"lm_head.weight"/],
    ['more layers than weights', { config: { num_hidden_layers: 3 } }, FormatError, /"model.layers.2.input_layernorm/],
  ])('refuses %s', (_, change, kind, message) => {
    const folder = changedModel('llama', {
      config: (config) => Object.assign(config, 'config' in change ? change.config : {}),
      tensors(tensors) {
        for (const [name, tensor] of Object.entries('tensors' in change ? change.tensors : {}))
          if (tensor) tensors.set(name, tensor)
          else tensors.delete(name)
      },
    })
    const open = (): unknown => openModel(folder)
    expect(open).toThrow(kind)
    expect(open).toThrow(message)
    fs.rmSync(folder, { recursive: true })
  })

  it('refuses a path that is no folder', () => {
    expect(() => openModel(path.join(MODELS, 'nowhere'))).toThrow(/no such folder/)
    expect(() => openModel(path.join(MODELS, 'llama/config.json'))).toThrow(/it is a file, expected a folder/)
  })
})

describe('assertFinite()', () => {
  it.each([Number.NaN, Infinity, -Infinity])('names the tensor and the place of %d', (bad) => {
    const numbers = new Float32Array(100).fill(1e38)
    expect(() => assertFinite(numbers, 'w')).not.toThrow()
    numbers[42] = bad
    expect(() => assertFinite(numbers, 'w')).toThrow(`Cannot use tensor "w": element 42 is ${bad}`)
  })
})
