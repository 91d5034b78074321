import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { ShapeError, UsageError } from '../../src/errors.ts'
import { readSafetensors } from '../../src/formats/safetensors/reader.ts'
import { openModel } from '../../src/model/open.ts'
import { forward } from '../../src/pipeline/forward.ts'
import type { RawTensor } from '../../src/tensor/dtype.ts'
import { changedModel, floatTensor } from '../fixtures/model-folder.ts'
import { naiveForward } from './naive-forward.ts'

const MODELS = path.join(import.meta.dirname, '../golden/models')
const SUPPORTED = fs.readdirSync(MODELS).filter((name) => fs.statSync(path.join(MODELS, name)).isDirectory())
// float32 in another order of summation; the goldens themselves are within 7.4e-6 of a float64 run.
const TOLERANCE = 2e-4

function golden(name: string): Map<string, RawTensor> {
  return readSafetensors(path.join(MODELS, name, 'golden.safetensors')).tensors
}
const floats = (tensor: RawTensor | undefined): Float32Array => new Float32Array(tensor!.bytes.slice().buffer)
const integers = (tensor: RawTensor | undefined): BigInt64Array => new BigInt64Array(tensor!.bytes.slice().buffer)

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  let worst = 0
  // A comparison that NaN fails, so that NaN is an infinite difference.
  for (let i = 0; i < a.length; i++)
    worst = Math.abs(a[i]! - b[i]!) >= 0 ? Math.max(worst, Math.abs(a[i]! - b[i]!)) : Infinity
  return worst
}

describe.each(SUPPORTED)('forward() of %s', (name) => {
  const expected = golden(name)
  const [B, T] = expected.get('input_ids')!.shape as [number, number]

  it('gives the golden logits, FF inputs, intermediates and FF outputs', async () => {
    const model = openModel(path.join(MODELS, name))
    const layers: number[] = []
    const { logits, dims } = await forward(
      model,
      { data: integers(expected.get('input_ids')), B, T },
      {
        threads: 1,
        onLayer(layer, ffnIn, downIn, ffnOut) {
          layers.push(layer)
          expect(largestDifference(ffnIn, floats(expected.get(`layers.${layer}.ffn_in`)))).toBeLessThan(TOLERANCE)
          expect(largestDifference(downIn, floats(expected.get(`layers.${layer}.down_in`)))).toBeLessThan(TOLERANCE)
          expect(largestDifference(ffnOut, floats(expected.get(`layers.${layer}.ffn_out`)))).toBeLessThan(TOLERANCE)
        },
      },
    )
    expect(layers).toEqual(Array.from({ length: model.config.layers }, (_, i) => i))
    expect(dims).toEqual(expected.get('logits')!.shape)
    expect(largestDifference(logits, floats(expected.get('logits')))).toBeLessThan(TOLERANCE)
    model.close()
  })

  it('gives the golden logits of left-padded sequences where the mask is 1', async () => {
    const model = openModel(path.join(MODELS, name))
    const mask = integers(expected.get('attention_mask'))
    const data = integers(expected.get('input_ids_padded'))
    const { logits } = await forward(model, { data, B, T }, { threads: 1, attentionMask: mask })
    const wanted = floats(expected.get('logits_padded'))
    const { vocab } = model.config
    const real = (all: Float32Array): Float32Array => all.filter((_, i) => mask[Math.floor(i / vocab)] === 1n)
    expect(real(wanted).length).toBeLessThan(wanted.length)
    expect(largestDifference(real(logits), real(wanted))).toBeLessThan(TOLERANCE)
    model.close()
  })
})

describe('forward()', () => {
  it('agrees with a plain float64 loop over the published formulas, a local window included', async () => {
    const expected = golden('mistral')
    for (const slidingWindow of [null, 5]) {
      const opened = openModel(path.join(MODELS, 'mistral'))
      const model = { ...opened, config: { ...opened.config, slidingWindow } }
      const ids = [...integers(expected.get('input_ids'))].map(Number).slice(0, 24)
      const { logits } = await forward(model, { data: [ids], B: 1, T: 24 }, { threads: 1 })
      expect(largestDifference(logits, naiveForward(model, ids))).toBeLessThan(5e-5) // float32 against float64
      opened.close()
    }
  })

  it('honours attention biases', async () => {
    const folder = changedModel('llama', {
      config: (config) => (config['attention_bias'] = true),
      tensors(tensors) {
        for (const layer of [0, 1])
          for (const [matrix, size] of Object.entries({ q_proj: 64, k_proj: 32, v_proj: 32, o_proj: 64 }))
            tensors.set(
              `model.layers.${layer}.self_attn.${matrix}.bias`,
              floatTensor([size], (i) => Math.sin(i + size + layer)),
            )
      },
    })
    const model = openModel(folder)
    const ids = Array.from({ length: 12 }, (_, i) => (i * 37) % 272)
    const { logits } = await forward(model, { data: [ids], B: 1, T: 12 }, { threads: 1 })
    expect(largestDifference(logits, naiveForward(model, ids))).toBeLessThan(5e-5)
    model.close()
    fs.rmSync(folder, { recursive: true })
  })

  it.each([1, 2, 3, 5, 8, 9, 15, 61, 128])('agrees with the plain loop on a sequence of %i tokens', async (T) => {
    const model = openModel(path.join(MODELS, 'llama'))
    const ids = Array.from({ length: T }, (_, i) => (i * 61 + 7) % 272)
    const { logits } = await forward(model, { data: [ids], B: 1, T }, { threads: 1 })
    expect(largestDifference(logits, naiveForward(model, ids))).toBeLessThan(5e-5)
    model.close()
  })

  it('stays exact where scores differ by hundreds, and later keys score far above earlier ones', async () => {
    const folder = changedModel('llama', {
      tensors(tensors) {
        for (const matrix of ['q_proj', 'k_proj']) {
          const name = `model.layers.0.self_attn.${matrix}.weight`
          const { shape, bytes } = tensors.get(name)!
          const W = new Float32Array(bytes.slice().buffer)
          tensors.set(
            name,
            floatTensor(shape, (i) => 6 * W[i]!),
          )
        }
      },
    })
    const model = openModel(folder)
    const ids = Array.from({ length: 100 }, (_, i) => (i * 61 + 7) % 272)
    const { logits } = await forward(model, { data: [ids], B: 1, T: 100 }, { threads: 1 })
    // Scores of some hundreds have float32 errors of 1e-5, and so have the weights of keys that nearly tie.
    expect(largestDifference(logits, naiveForward(model, ids))).toBeLessThan(1e-3)
    model.close()
    fs.rmSync(folder, { recursive: true })
  })

  it('gives a batch the logits of its sequences one by one', async () => {
    const model = openModel(path.join(MODELS, 'llama'))
    const rows = [0, 1, 2].map((b) => Array.from({ length: 7 }, (_, i) => (b * 91 + i * 29) % 272))
    const { logits: all } = await forward(model, { data: rows, B: 3, T: 7 }, { threads: 1 })
    for (const [b, row] of rows.entries()) {
      const { logits } = await forward(model, { data: [row], B: 1, T: 7 }, { threads: 1 })
      // Products are blocked by the number of rows, so sums may differ in the last bits.
      expect(largestDifference(logits, all.subarray(b * 7 * 272, (b + 1) * 7 * 272))).toBeLessThan(1e-5)
    }
    model.close()
  })

  it('refuses ids outside the vocabulary, wrong counts and too long sequences', async () => {
    const model = openModel(path.join(MODELS, 'llama'))
    const run = (data: number[][], B: number, T: number): Promise<unknown> =>
      forward(model, { data, B, T }, { threads: 1 })
    await expect(run([[1, 272]], 1, 2)).rejects.toThrow(/token 1 of sequence 0 is 272, expected 0 to 271/)
    await expect(run([[1, -1]], 1, 2)).rejects.toBeInstanceOf(UsageError)
    await expect(run([[1, 2]], 1, 3)).rejects.toBeInstanceOf(ShapeError)
    await expect(run([Array<number>(129).fill(1)], 1, 129)).rejects.toThrow(/it has 128 positions/)
    model.close()
  })
})
