import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors/writer.ts'
import { createSession } from '../../src/runtime/session.ts'
import { runDecoder } from '../fixtures/decoder.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

/** A python with onnx, onnxruntime, safetensors and numpy; CI sets it. */
const PYTHON = process.env['SPEXPAND_PYTHON']
const SCRIPT = fileURLToPath(new URL('check_artifact.py', import.meta.url))
if (!PYTHON) console.log('SKIPPED test/interop: SPEXPAND_PYTHON names no python with onnx, onnxruntime and safetensors')

const folders: string[] = []
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

describe.skipIf(!PYTHON)('an artifact in Python', () => {
  it.each([
    { model: 'llama', experts: 4, sparsity: 0.7, split: true, stockBody: 'stream' },
    { model: 'llama3-rope', experts: 3, sparsity: 0.7, split: false, stockBody: 'fold' },
    { model: 'llama-bf16', experts: 1, sparsity: 0.5, split: false, stockBody: 'stream' },
    { model: 'mistral', experts: 2, sparsity: 0.5, split: false, stockBody: 'stream', shardBytes: 60_000 },
    { model: 'llama', experts: 3, sparsity: 0.7, stockBody: 'stream', values: { type: 'int4', groupSize: 32 } },
    { model: 'llama', experts: 3, sparsity: 0.7, stockBody: 'stream', values: { type: 'int8', groupSize: 0 } },
    { model: 'llama3-rope', experts: 2, sparsity: 0.7, stockBody: 'fold', values: { type: 'int4', groupSize: 128 } },
    { model: 'llama', experts: 2, sparsity: 0.7, stockBody: 'stream', values: { type: 'bf16' } },
  ] as const)('passes the full check, decodes, generates and gives our logits: %j', async (form) => {
    const { folder, model } = await randomArtifact(form)
    folders.push(join(folder, '..'))
    const ids = BigInt64Array.from({ length: 2 * 12 }, (_, i) => BigInt((i * 37) % model.config.vocab))
    const session = await createSession(join(folder, 'model.onnx'), { threads: 1 })
    const { logits } = await runDecoder(session, model.config, { ids, batch: 2 })
    await session.release()
    const expected = join(folder, '..', 'expected.safetensors')
    writeSafetensors(expected, {
      input_ids: { dtype: 'I64', shape: [2, 12], bytes: new Uint8Array(ids.buffer) },
      logits: {
        dtype: 'F32',
        shape: [2, 12, model.config.vocab],
        bytes: new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength),
      },
    })
    expect(execFileSync(PYTHON!, [SCRIPT, folder, expected], { encoding: 'utf8' })).toMatch(/^OK onnx/)
  })
})
