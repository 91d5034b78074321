import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { openModel } from '../../src/model/open.ts'
import { changedModel } from '../fixtures/model-folder.ts'

const MODELS = join(import.meta.dirname, '../golden/models')

describe('sliced()', () => {
  it('gives the parts of fused matrices as tensors of their own, in place of the fused ones', () => {
    const model = openModel(join(MODELS, 'phi3'))
    const stored = openWeights(model.folder)
    const fused = 'model.layers.1.mlp.gate_up_proj.weight'
    const { ff, hidden } = model.config
    const all = stored.readF32(fused)
    expect(model.weights.readF32(model.tensorName('gate', 1))).toEqual(all.slice(0, ff * hidden))
    expect(model.matrix('up', 1)).toEqual(all.slice(ff * hidden))
    const up = model.tensor('up', 1)
    expect(up).toMatchObject({ shape: [ff, hidden], offset: stored.get(fused).offset + 4 * ff * hidden })
    expect(model.weights.readBytes(up.name, 8, 24)).toEqual(
      stored.readBytes(fused, 4 * ff * hidden + 8, 4 * ff * hidden + 24),
    )
    expect(() => model.weights.readBytes(up.name, 0, up.byteLength + 1)).toThrow(RangeError)
    expect(model.weights.tensors.has(fused)).toBe(false)
    const bytes = (store: typeof stored): number =>
      [...store.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
    expect(bytes(model.weights)).toBe(bytes(stored))
    stored.close()
    model.close()
  })

  it('refuses a fused matrix that has not the rows of its parts', () => {
    const folder = changedModel('phi3', { config: (config) => (config['intermediate_size'] = 147) })
    expect(() => openModel(folder)).toThrow(/gate_up_proj.*its shape is \[296, 56\], config.json asks for \[294, 56\]/)
    rmSync(folder, { recursive: true })
  })
})

describe('openModel()', () => {
  it('finds tensors of files that leave out the front of every name', () => {
    const folder = changedModel('gpt2', {
      tensors(tensors) {
        const named = new Map(tensors)
        tensors.clear()
        for (const [name, tensor] of named) tensors.set(name.replace(/^transformer\./, ''), tensor)
      },
    })
    const model = openModel(folder)
    expect(model.tensorName('qkv', 1)).toBe('h.1.attn.c_attn.weight')
    model.close()
    rmSync(folder, { recursive: true })
  })

  it('gives matrices (out, in), however they are stored', () => {
    const model = openModel(join(MODELS, 'gpt2'))
    const { hidden, ff } = model.config
    const stored = model.weights.readF32(model.tensorName('up', 0))
    const W = model.matrix('up', 0)
    expect(model.tensor('up', 0).shape).toEqual([hidden, ff])
    for (const [i, j] of [
      [0, 0],
      [3, 5],
      [ff - 1, hidden - 1],
    ] as const)
      expect(W[i * hidden + j]).toBe(stored[j * ff + i])
    model.close()
  })
})
