import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { UnsupportedError, UsageError } from '../../../src/errors.ts'
import { openWeights } from '../../../src/formats/safetensors/weights.ts'
import { readFamilyConfig } from '../../../src/model/config.ts'
import { compress } from '../../../src/pipeline/compress.ts'
import { exportMixtral } from '../../../src/pipeline/convert/mixtral.ts'
import { createSession } from '../../../src/runtime/session.ts'
import { byteLetterModel } from '../../fixtures/byte-letters.ts'
import { maxDifference, runDecoder } from '../../fixtures/decoder.ts'
import { randomArtifact } from '../../fixtures/randomArtifact.ts'
import { naiveForward } from '../naive-forward.ts'

const parents: string[] = []
afterAll(() => parents.forEach((parent) => rmSync(parent, { recursive: true, force: true })))

function parent(): string {
  parents.push(mkdtempSync(join(tmpdir(), 'spexpand-mixtral-')))
  return parents.at(-1)!
}

function jsonOf(folder: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>
}

/** Logits of a Mixtral folder with one expert per token, from its tensors and the published formulas alone. */
function mixtralLogits(folder: string, artifact: string, ids: readonly number[]): Float32Array {
  const weights = openWeights(folder)
  const { config } = readFamilyConfig(artifact)
  const read = (name: string): Float64Array => Float64Array.from(weights.readF32(name))
  const logits = naiveForward({ config: { ...config, tied: false }, weights }, ids, (layer, x) => {
    const at = `model.layers.${layer}.block_sparse_moe`
    const gate = read(`${at}.gate.weight`)
    const scores = Array.from({ length: gate.length / x.length }, (_, e) =>
      x.reduce((sum, value, j) => sum + value * gate[e * x.length + j]!, 0),
    )
    const e = scores.indexOf(Math.max(...scores))
    return [
      read(`${at}.experts.${e}.w1.weight`),
      read(`${at}.experts.${e}.w3.weight`),
      read(`${at}.experts.${e}.w2.weight`),
    ]
  })
  weights.close()
  return Float32Array.from(logits)
}

async function artifactLogits(artifact: string, ids: readonly number[]): Promise<Float32Array> {
  const { config } = readFamilyConfig(artifact)
  const session = await createSession(join(artifact, 'model.onnx'), { threads: 1 })
  const { logits } = await runDecoder(session, config, { ids: BigInt64Array.from(ids, BigInt), batch: 1 })
  await session.release()
  return logits
}

async function refusal(form: { experts: number; split?: boolean; bias?: boolean }): Promise<UsageError> {
  const { folder } = await randomArtifact({ model: 'llama', sparsity: 0.5, parent: parent(), ...form })
  try {
    await exportMixtral({ artifact: folder, out: join(parent(), 'mixtral') })
  } catch (error) {
    return error as UsageError
  }
  throw new Error('not refused')
}

const ids = Array.from({ length: 20 }, (_, i) => (i * 37) % 30)

describe('exportMixtral()', () => {
  it.each([
    ['llama', { type: 'f16' }, 'F16'],
    ['mistral-window', { type: 'int4', groupSize: 32 }, 'F32'],
  ] as const)('exportMixtral() of %s as %o has the logits of the artifact', async (model, values, dtype) => {
    const { folder } = await randomArtifact({ model, experts: 3, sparsity: 0.6, values, bias: false, parent: parent() })
    const out = join(parent(), 'mixtral')
    expect(await exportMixtral({ artifact: folder, out })).toMatchObject({
      experts: 3,
      weights: dtype,
      computeType: 'float32',
    })
    expect(maxDifference(mixtralLogits(out, folder, ids), await artifactLogits(folder, ids))).toBeLessThan(1e-4)
    expect(jsonOf(out)).toMatchObject({
      architectures: ['MixtralForCausalLM'],
      num_local_experts: 3,
      num_experts_per_tok: 1,
      sliding_window: model === 'mistral-window' ? 8 : null,
      tie_word_embeddings: false,
    })
  })

  it('compress() without router bias, then exportMixtral(): the same function', async () => {
    const at = parent()
    const { model, text } = byteLetterModel('llama', join(at, 'model'))
    const artifact = join(at, 'artifact')
    const options = { model, text: { paths: [text] }, experts: 3, tokens: 512, sequenceLength: 16, threads: 1 }
    await compress({ ...options, out: artifact, routerBias: false, native: false })
    const out = join(at, 'mixtral')
    const { files } = await exportMixtral({ artifact, out })
    expect(files).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']))
    expect(maxDifference(mixtralLogits(out, artifact, ids), await artifactLogits(artifact, ids))).toBeLessThan(1e-4)
  }, 60_000)

  it('exportMixtral() says scaled rotary embeddings as transformers 4 does', async () => {
    const { folder } = await randomArtifact({
      model: 'llama3-rope',
      experts: 2,
      sparsity: 0.5,
      bias: false,
      parent: parent(),
    })
    const out = join(parent(), 'mixtral')
    await exportMixtral({ artifact: folder, out })
    const source = jsonOf(folder)['rope_parameters'] as Record<string, unknown>
    const { rope_theta: theta, ...rest } = source
    expect(jsonOf(out)).toMatchObject({ rope_theta: theta, rope_scaling: rest })
    expect(jsonOf(out)).not.toHaveProperty('rope_parameters')
  })

  it('exportMixtral() writes the head of a tied model, rounds where asked, and equal bytes in shards', async () => {
    const { folder, weights } = await randomArtifact({
      model: 'llama-bf16',
      experts: 2,
      sparsity: 0.5,
      bias: false,
      parent: parent(),
    })
    const at = parent()
    const contents: Buffer[][] = []
    for (const name of ['a', 'b']) {
      const out = join(at, name)
      const { files } = await exportMixtral({ artifact: folder, out, weights: 'bf16', shardBytes: 60_000 })
      contents.push(files.map((file) => readFileSync(join(out, file))))
    }
    const [a, b] = contents
    expect(a!.every((bytes, i) => bytes.equals(b![i]!))).toBe(true)
    expect(a!.length).toBeGreaterThan(4)
    expect(jsonOf(join(at, 'a'))).toMatchObject({ torch_dtype: 'bfloat16' })
    const store = openWeights(join(at, 'a'))
    const head = readFamilyConfig(folder).config.tied ? 'model.embed_tokens.weight' : 'lm_head.weight'
    expect(store.readBytes('lm_head.weight')).toEqual(store.readBytes(head))
    const W = store.readF32('model.layers.1.block_sparse_moe.experts.1.w2.weight')
    W.forEach((w, i) => expect(Math.abs(w - weights[1]!.down[1]![i]!)).toBeLessThanOrEqual(2 ** -8 * Math.abs(w)))
    store.close()
  })

  it('exportMixtral() refuses what another compression would leave out, naming the flag', async () => {
    for (const [error, wanted] of [
      [await refusal({ experts: 2 }), /add a bias.*compress with --no-router-bias$/],
      [await refusal({ experts: 2, split: true, bias: false }), /compress with --router shared --no-router-bias$/],
      [await refusal({ experts: 1 }), /one expert: export it --to hf-dense$/],
    ] as const) {
      expect(error).toBeInstanceOf(UsageError)
      expect(error.message).toMatch(wanted)
    }
  })

  it.each([
    ['qwen2', /biases \(query, key, value\)/],
    ['phi', /FF layers without a gate/],
  ])(
    'exportMixtral() of %s names what Mixtral cannot express',
    async (name, wanted) => {
      const at = parent()
      const { model, text } = byteLetterModel(name, join(at, 'model'))
      const out = join(at, 'artifact')
      const few = { tokens: 256, sequenceLength: 16, threads: 1, experts: 1, native: false }
      await compress({ model, text: { paths: [text] }, out, ...few })
      await expect(exportMixtral({ artifact: out, out: join(at, 'mixtral') })).rejects.toThrow(UnsupportedError)
      await expect(exportMixtral({ artifact: out, out: join(at, 'mixtral') })).rejects.toThrow(wanted)
    },
    60_000,
  )
})
