import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as web from 'onnxruntime-web'
import { afterAll, describe, expect, it } from 'vitest'
import { createSession } from '../../src/runtime/session.ts'
import type { Tensor } from '../../src/runtime/session.ts'
import { decoderFeeds, maxDifference } from '../fixtures/decoder.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

// Threads of the wasm build need SharedArrayBuffer workers, which a test runner's process handles badly.
web.env.wasm.numThreads = 1
web.env.logLevel = 'error'

const folders: string[] = []
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

/** The artifact in onnxruntime-web (wasm), the way a browser does it: bytes of the graph and of its weight file. */
async function webLogits(folder: string, feeds: Record<string, Tensor>): Promise<Float32Array> {
  const session = await web.InferenceSession.create(readFileSync(join(folder, 'model.onnx')), {
    executionProviders: ['wasm'],
    externalData: [{ path: 'model.safetensors', data: readFileSync(join(folder, 'model.safetensors')) }],
  })
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, { type, data, dims }]) => [name, new web.Tensor(type, data, dims)]),
  )
  const { logits } = await session.run(inputs, ['logits'])
  await session.release()
  return logits!.data as Float32Array
}

describe('an artifact in onnxruntime-web (wasm)', () => {
  it.each([
    { model: 'llama', experts: 4, sparsity: 0.7, split: true, stockBody: 'stream' },
    { model: 'llama-bf16', experts: 3, sparsity: 0.7, split: false, stockBody: 'fold' },
    { model: 'mistral', experts: 1, sparsity: 0.5, split: false, stockBody: 'stream' },
    { model: 'llama', experts: 3, sparsity: 0.7, stockBody: 'stream', values: { type: 'int4', groupSize: 32 } },
    { model: 'llama', experts: 3, sparsity: 0.7, stockBody: 'fold', values: { type: 'int8', groupSize: 0 } },
    { model: 'llama', experts: 3, sparsity: 0.7, stockBody: 'stream', values: { type: 'bf16' } },
    {
      model: fileURLToPath(new URL('../../calibration/demo-model', import.meta.url)),
      experts: 4,
      sparsity: 0.7,
      split: false,
      stockBody: 'stream',
    },
  ] as const)('gives the logits of onnxruntime-node: %j', async (form) => {
    const { folder, model } = await randomArtifact(form)
    folders.push(join(folder, '..'))
    const ids = BigInt64Array.from({ length: 2 * 12 }, (_, i) => BigInt((i * 37) % model.config.vocab))
    const feeds = decoderFeeds(model.config, { ids, batch: 2 })
    const session = await createSession(join(folder, 'model.onnx'), { threads: 1 })
    const { logits } = await session.run(feeds, ['logits'])
    await session.release()
    const difference = maxDifference(await webLogits(folder, feeds), logits!.data as Float32Array)
    // Another order of summation; a token on the border of two experts would show as a far larger difference.
    expect(difference).toBeLessThan(1e-3)
  })
})
