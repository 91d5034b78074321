import * as fc from 'fast-check'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { denseDecoderModel } from '../../export/onnx.ts'
import { FormatError, InterruptedError, SolverError, UsageError } from '../../src/errors.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { OpenedModel } from '../../src/model/open.ts'
import { openModel } from '../../src/model/open.ts'
import { createSession } from '../../src/runtime/session.ts'
import type { Decoder } from '../../src/verify/decoder.ts'
import { createDecoder } from '../../src/verify/decoder.ts'
import { generateTokens } from '../../src/verify/generate.ts'
import { argMax, sampleToken } from '../../src/verify/sample.ts'
import { maxDifference, runDecoder } from '../fixtures/decoder.ts'

const DEMO = fileURLToPath(new URL('../../calibration/demo-model', import.meta.url))
const GOLDEN = fileURLToPath(new URL('../golden/models/llama-sharded', import.meta.url))

/** The demo model has heads of 32 (cache in place), the golden one heads that GroupQueryAttention does not take. */
describe.each([
  ['a cache in place', DEMO, true],
  ['a cache of new tensors', GOLDEN, false],
])('createDecoder() with %s', (_, folder, isShared) => {
  let model: OpenedModel
  let decoder: Decoder
  let ids: number[]
  beforeAll(async () => {
    model = openModel(folder)
    const graph = denseDecoderModel(model, '0')
    expect(graph.graph.node.some(({ opType }) => opType === 'GroupQueryAttention')).toBe(isShared)
    decoder = await createDecoder({ graph, source: encodeModel(graph), folder: model.dataFolder, threads: 1 })
    // Longer than one step of the cache's growth, and both sides of it.
    ids = Array.from({ length: 262 }, (__, i) => (i * 97 + (i >> 2) * 31) % model.config.vocab)
  })
  afterAll(async () => {
    await decoder.release()
    model.close()
  })

  it('gives the logits of one run without a cache, whatever the pieces', async () => {
    const session = await createSession(encodeModel(denseDecoderModel(model, '0')), {
      threads: 1,
      folder: model.dataFolder,
    })
    const whole = await runDecoder(session, model.config, { ids: BigInt64Array.from(ids, BigInt), batch: 1 })
    await session.release()
    const { vocab } = model.config
    expect(decoder.vocab).toBe(vocab)
    for (const pieces of [[262], [250, 5, 1, 1, 1, 1, 1, 1, 1]]) {
      decoder.reset()
      let at = 0
      for (const size of pieces) {
        const logits = await decoder.step(ids.slice(at, at + size))
        at += size
        expect(decoder.length).toBe(at)
        expect(maxDifference(logits, whole.logits.subarray((at - 1) * vocab, at * vocab))).toBeLessThan(2e-4)
      }
    }
  })

  it('refuses a step of no tokens', async () => {
    await expect(decoder.step([])).rejects.toThrow(UsageError)
  })
})

/** A decoder whose next token is always one more than the last. */
function counting(vocab: number): Decoder {
  let length = 0
  return {
    get length() {
      return length
    },
    vocab,
    all: () => Promise.reject(new Error('asked for all logits')),
    step(ids) {
      length += ids.length
      return Promise.resolve(Float32Array.from({ length: vocab }, (_, i) => Number(i === ids.at(-1)! + 1)))
    },
    reset() {
      length = 0
    },
    release: () => Promise.resolve(),
  }
}

describe('generateTokens()', () => {
  const options = { promptIds: [1, 2], maxNewTokens: 5, stopIds: [9], choose: argMax, now: () => 0 }

  it('ends after maxNewTokens without a step too many', async () => {
    const decoder = counting(20)
    const heard: number[] = []
    let clock = 0
    const made = await generateTokens(decoder, { ...options, now: () => clock++, onToken: (id) => heard.push(id) })
    expect(made).toEqual({ ids: [3, 4, 5, 6, 7], stopped: 'length', promptMs: 1, decodeMs: 4, decodeSteps: 4 })
    expect(heard).toEqual(made.ids)
    expect(decoder.length).toBe(2 + 4)
  })

  it('ends before a stop token', async () => {
    expect(await generateTokens(counting(20), { ...options, stopIds: [5, 4] })).toMatchObject({
      ids: [3],
      stopped: 'stop',
    })
  })

  it('refuses ids outside the vocabulary and stops when told to', async () => {
    await expect(generateTokens(counting(2), options)).rejects.toThrow(FormatError)
    await expect(generateTokens(counting(20), { ...options, signal: AbortSignal.abort() })).rejects.toThrow(
      InterruptedError,
    )
  })
})

describe('sampleToken()', () => {
  const all = { temperature: 1, topK: 0, topP: 1 }
  const logits = fc.array(fc.double({ min: -20, max: 20, noNaN: true }), { minLength: 1, maxLength: 12 })

  it('inverts the cumulative distribution of the kept tokens, most likely first', () => {
    fc.assert(
      fc.property(
        logits.map((values) => Float32Array.from(values)),
        fc.record({
          temperature: fc.double({ min: 0.2, max: 3, noNaN: true }),
          topK: fc.integer({ min: 0, max: 12 }),
          topP: fc.double({ min: 0.05, max: 1, noNaN: true }),
        }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (x, sampling, u) => {
          const ranked = [...x.keys()].sort((a, b) => x[b]! - x[a]! || a - b)
          const kept = sampling.topK > 0 ? ranked.slice(0, sampling.topK) : ranked
          const total = kept.reduce((sum, id) => sum + Math.exp((x[id]! - x[kept[0]!]!) / sampling.temperature), 0)
          const p = kept.map((id) => Math.exp((x[id]! - x[kept[0]!]!) / sampling.temperature) / total)
          const cumulative = p.map((__, i) => p.slice(0, i + 1).reduce((a, b) => a + b, 0))
          const n = 1 + cumulative.slice(0, -1).filter((c) => c < sampling.topP).length
          const at = cumulative.slice(0, n - 1).filter((c) => c <= u * cumulative[n - 1]!).length
          const chosen = sampleToken(x, sampling, () => u)
          // Sums of two orders: at a boundary either neighbour is right.
          const near = cumulative.some((c) => Math.abs(c - u * cumulative[n - 1]!) < 1e-9)
          const atTopP = cumulative.some((c) => Math.abs(c - sampling.topP) < 1e-9)
          if (!near && !atTopP) expect(chosen).toBe(kept[at])
        },
      ),
    )
  })

  it('draws as often as the probabilities say', () => {
    const x = Float32Array.of(Math.log(0.6), Math.log(0.3), Math.log(0.1))
    const n = 1000
    const counts = [0, 0, 0]
    for (let i = 0; i < n; i++) counts[sampleToken(x, all, () => (i + 0.5) / n)]!++
    expect(counts).toEqual([600, 300, 100])
    expect(sampleToken(x, { ...all, topP: 0.5 }, () => 0.999)).toBe(0)
    expect(sampleToken(x, { ...all, topK: 2 }, () => 0.999)).toBe(1)
  })

  it('takes the most likely token at temperature 0, the lowest on ties, and refuses NaN', () => {
    expect(sampleToken(Float32Array.of(1, 3, 3), { ...all, temperature: 0 }, () => 0.9)).toBe(1)
    expect(() => sampleToken(Float32Array.of(1, NaN), all, () => 0)).toThrow(SolverError)
  })
})
