import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { writeSafetensors } from '../../../src/formats/safetensors/writer.ts'
import { openModel } from '../../../src/model/open.ts'
import { compress } from '../../../src/pipeline/compress.ts'
import { exportHfDense } from '../../../src/pipeline/convert/hf-dense.ts'
import { forward } from '../../../src/pipeline/forward.ts'
import { createSession } from '../../../src/runtime/session.ts'
import { maxDifference, runDecoder } from '../../fixtures/decoder.ts'
import { addLetters } from '../../fixtures/letters.ts'
import { randomArtifact } from '../../fixtures/randomArtifact.ts'

const parents: string[] = []
afterAll(() => parents.forEach((parent) => rmSync(parent, { recursive: true, force: true })))

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'spexpand-hf-dense-'))
  parents.push(made)
  return made
}

/** config.json without what it says of the element type. */
function untyped(at: string): string {
  return readFileSync(join(at, 'config.json'), 'utf8').replace(/"dtype": "\w+"/, '')
}

const ids = Array.from({ length: 20 }, (_, i) => (i * 37) % 90)

describe('exportHfDense()', () => {
  it.each([
    ['llama', { type: 'f16' }, 'F16'],
    ['llama-bf16', { type: 'bf16' }, 'BF16'],
    ['llama3-rope', { type: 'int4', groupSize: 32 }, 'F32'],
  ] as const)('%s as %o: the folder is a model with the logits of the artifact', async (model, values, dtype) => {
    const parent = folder()
    const artifact = await randomArtifact({ model, experts: 1, sparsity: 0.6, values, parent })
    const out = join(parent, 'hf')
    const result = await exportHfDense({ artifact: artifact.folder, out })
    expect(result).toMatchObject({
      weights: dtype,
      computeType: 'float32',
      sparsity: artifact.manifest.mixture.sparsity,
    })
    const opened = openModel(out)
    for (const [layer, dense] of artifact.weights.entries())
      for (const role of ['gate', 'up', 'down'] as const)
        expect(opened.weights.readF32(opened.tensorName(role, layer))).toEqual(dense[role][0])
    const session = await createSession(join(artifact.folder, 'model.onnx'), { threads: 1 })
    const expected = await runDecoder(session, opened.config, { ids: BigInt64Array.from(ids, BigInt), batch: 1 })
    const { logits } = await forward(opened, { data: [ids], B: 1, T: ids.length }, { threads: 1 })
    expect(maxDifference(logits, expected.logits)).toBeLessThan(1e-4)
    await session.release()
    opened.close()
  })

  // Fused, transposed and grouped matrices, biases, FF layers without a gate.
  it.each(['phi3', 'gpt2', 'opt', 'gpt_neox', 'gemma2', 'falcon'])(
    '%s: the same after a real compression',
    async (name) => {
      const parent = folder()
      const model = join(parent, name)
      cpSync(join(import.meta.dirname, '../../golden/models', name), model, { recursive: true })
      const text = { paths: [addLetters(model, { characters: 600 })] }
      const out = join(parent, 'artifact')
      await compress({ model, text, out, experts: 1, tokens: 256, sequenceLength: 16, threads: 1, native: false })
      const hf = join(parent, 'hf')
      await exportHfDense({ artifact: out, out: hf })
      // transformers 5 refuses 6 where it wants 6.0: only what says the element type may differ.
      expect(untyped(hf)).toBe(untyped(model))
      const [opened, source] = [openModel(hf), openModel(model)]
      expect([...opened.weights.tensors.keys()].sort()).toEqual([...source.weights.tensors.keys()].sort())
      const session = await createSession(join(out, 'model.onnx'), { threads: 1 })
      const expected = await runDecoder(session, opened.config, { ids: BigInt64Array.from(ids, BigInt), batch: 1 })
      const { logits } = await forward(opened, { data: [ids], B: 1, T: ids.length }, { threads: 1 })
      expect(maxDifference(logits, expected.logits)).toBeLessThan(1e-4)
      await session.release()
      opened.close()
      source.close()
    },
    60_000,
  )

  it('rounds to the type asked for, and asks loaders to compute in it', async () => {
    const parent = folder()
    const artifact = await randomArtifact({ model: 'llama', experts: 1, sparsity: 0.5, parent })
    const out = join(parent, 'hf')
    expect(await exportHfDense({ artifact: artifact.folder, out, weights: 'bf16' })).toMatchObject({ weights: 'BF16' })
    expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))).toMatchObject({ dtype: 'bfloat16' })
    const opened = openModel(out)
    const W = opened.weights.readF32(opened.tensorName('gate', 0))
    const exact = artifact.weights[0]!.gate[0]!
    W.forEach((w, i) => expect(Math.abs(w - exact[i]!)).toBeLessThanOrEqual(2 ** -8 * Math.abs(exact[i]!)))
    opened.close()
  })

  it('cuts into shards and writes equal bytes twice', async () => {
    const parent = folder()
    const artifact = await randomArtifact({ model: 'llama', experts: 1, sparsity: 0.5, parent })
    const contents: Buffer[][] = []
    for (const name of ['a', 'b']) {
      const out = join(parent, name)
      const { files } = await exportHfDense({ artifact: artifact.folder, out, shardBytes: 60_000 })
      contents.push(files.map((file) => readFileSync(join(out, file))))
    }
    const [a, b] = contents
    expect(a!.length).toBeGreaterThan(3)
    expect(a).toEqual(b)
    openModel(join(parent, 'a')).close()
  })

  it('refuses several experts, and a folder that is not empty', async () => {
    const parent = folder()
    const mixture = await randomArtifact({ model: 'llama', experts: 2, sparsity: 0.5, parent })
    await expect(exportHfDense({ artifact: mixture.folder, out: join(parent, 'hf') })).rejects.toThrow(
      /2 experts per layer/,
    )
    const other = folder()
    const one = await randomArtifact({ model: 'llama', experts: 1, sparsity: 0.5, parent: other })
    writeSafetensors(join(other, 'here.safetensors'), new Map())
    await expect(exportHfDense({ artifact: one.folder, out: other })).rejects.toThrow(/not empty/)
  })
})
