import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors/writer.ts'
import { exportMixtral } from '../../src/pipeline/convert/mixtral.ts'
import { createSession } from '../../src/runtime/session.ts'
import { runDecoder } from '../fixtures/decoder.ts'
import type { RandomArtifactOptions } from '../fixtures/randomArtifact.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

/** A python with torch and transformers, where there is one; CI's has neither. */
const PYTHON = process.env['SPEXPAND_PYTHON']
const SCRIPT = fileURLToPath(new URL('check_mixtral.py', import.meta.url))
if (!PYTHON) console.log('SKIPPED test/interop/mixtral: SPEXPAND_PYTHON names no python with transformers')

const folders: string[] = []
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

const FORMS = [
  { model: 'llama', experts: 3 },
  { model: 'mistral-window', experts: 2 },
  { model: 'llama3-rope', experts: 2 },
  { model: 'llama-yarn', experts: 2 },
  { model: 'llama-linear', experts: 4, shardBytes: 60_000 },
  { model: 'llama', experts: 2, values: { type: 'int8', groupSize: 0 } },
] as const satisfies readonly (Pick<RandomArtifactOptions, 'model' | 'experts' | 'values'> & { shardBytes?: number })[]

/** A Mixtral folder, and a file with token ids and the logits of the artifact it was made of. */
async function exported({ shardBytes, ...form }: (typeof FORMS)[number] & { shardBytes?: number }): Promise<string[]> {
  const parent = mkdtempSync(join(tmpdir(), 'spexpand-interop-mixtral-'))
  folders.push(parent)
  const { folder, model } = await randomArtifact({ sparsity: 0.6, bias: false, parent, ...form })
  const ids = BigInt64Array.from({ length: 2 * 14 }, (_, i) => BigInt((i * 37) % model.config.vocab))
  const session = await createSession(join(folder, 'model.onnx'), { threads: 1 })
  const { logits } = await runDecoder(session, model.config, { ids, batch: 2 })
  await session.release()
  const expected = join(parent, 'expected.safetensors')
  writeSafetensors(expected, {
    input_ids: { dtype: 'I64', shape: [2, 14], bytes: new Uint8Array(ids.buffer) },
    logits: {
      dtype: 'F32',
      shape: [2, 14, model.config.vocab],
      bytes: new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength),
    },
  })
  const out = join(parent, 'mixtral')
  await exportMixtral({ artifact: folder, out, ...(shardBytes === undefined ? {} : { shardBytes }) })
  return [out, expected]
}

describe.skipIf(!PYTHON)('Mixtral folders in transformers', () => {
  it('load whole and give the logits of the artifacts, whatever rotary embedding, window, shards and values', async () => {
    const pairs: string[] = []
    for (const form of FORMS) pairs.push(...(await exported(form)))
    const said = execFileSync(PYTHON!, [SCRIPT, ...pairs], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
    if (said.startsWith('SKIP')) console.log(`SKIPPED test/interop/mixtral: ${said.trim()}`)
    else expect(said).toMatch(/^OK transformers/)
  }, 240_000)
})
