import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, describe, expect, it } from 'vitest'
import { foldPeakBytes, writeArtifact } from '../../export/artifact.ts'
import { METADATA_KEYS } from '../../export/metadata.ts'
import { IntegrityError } from '../../src/errors.ts'
import { decodeModel } from '../../src/formats/onnx/decode.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { Model } from '../../src/formats/onnx/types.ts'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { fileSha256 } from '../../src/formats/sha256.ts'
import { createSession } from '../../src/runtime/session.ts'
import { decoderFeeds, maxDifference, runDecoder } from '../fixtures/decoder.ts'
import type { RandomArtifact, RandomArtifactOptions } from '../fixtures/randomArtifact.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'
import { twinFeedForward } from '../fixtures/twin.ts'

const made: string[] = []
afterAll(() => made.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

async function artifactOf(options: RandomArtifactOptions): Promise<RandomArtifact> {
  const artifact = await randomArtifact(options)
  made.push(join(artifact.folder, '..'))
  return artifact
}

function graphOf(folder: string): Model {
  return decodeModel(readFileSync(join(folder, 'model.onnx')))
}

function goldenIds(model: string): { ids: BigInt64Array; logits: Float32Array } {
  const file = openSafetensors(fileURLToPath(new URL(`../golden/models/${model}/golden.safetensors`, import.meta.url)))
  const result = {
    ids: new BigInt64Array(file.readBytes('input_ids').buffer),
    logits: file.readF32('logits'),
  }
  file.close()
  return result
}

async function logitsOf(folder: string, model: RandomArtifact['model'], ids: BigInt64Array): Promise<Float32Array> {
  const session = await createSession(join(folder, 'model.onnx'), { threads: 1 })
  const { logits } = await runDecoder(session, model.config, { ids, batch: 2 })
  await session.release()
  return logits
}

function keysAt(...places: string[]): string[] {
  return METADATA_KEYS.filter(({ place }) => places.includes(place))
    .map(({ key }) => key)
    .sort()
}

describe('writeArtifact()', () => {
  it.each(['stream', 'fold'] as const)('without zeros gives the golden logits (%s body)', async (stockBody) => {
    // The weights of this model are f16, which the artifact stores exactly; which expert runs makes no difference.
    const { folder, model } = await artifactOf({ model: 'llama-f16', experts: 3, sparsity: 0, stockBody })
    const { ids, logits } = goldenIds('llama-f16')
    expect(maxDifference(await logitsOf(folder, model, ids), logits)).toBeLessThan(2e-4)
  })

  it.each([
    { experts: 5, split: false, stockBody: 'stream' },
    { experts: 5, split: true, stockBody: 'stream' },
    { experts: 5, split: true, stockBody: 'fold' },
    { experts: 1, split: false, stockBody: 'stream' },
    { experts: 1, split: false, stockBody: 'fold' },
    { experts: 5, split: false, stockBody: 'stream', values: { type: 'bf16' } },
    { experts: 5, split: true, stockBody: 'stream', values: { type: 'int4', groupSize: 32 } },
    { experts: 3, split: false, stockBody: 'fold', values: { type: 'int4', groupSize: 128 } },
    { experts: 5, split: false, stockBody: 'stream', values: { type: 'int8', groupSize: 0 } },
  ] as const)('routes and multiplies as a float64 twin does: %j', async (form) => {
    const artifact = await artifactOf({ model: 'llama3-rope', sparsity: 0.6, ...form })
    const { config } = artifact.model
    const product = 'values' in form && 'groupSize' in form.values ? 'SparseExpertMatMulInteger' : 'SparseExpertMatMul'
    const graph = graphOf(artifact.folder)
    const layers = Array.from({ length: config.layers }, (_, layer) => layer)
    for (const layer of layers)
      for (const value of ['ffnNorm/Mul', `mlp/down/${product}`])
        graph.graph.output.push({ name: `/model/layers.${layer}/${value}/output_0`, type: 'float' })
    const session = await createSession(encodeModel(graph), { threads: 1, folder: artifact.folder })
    const results = await session.run(decoderFeeds(config, { ids: goldenIds('llama3-rope').ids, batch: 2 }))
    await session.release()
    for (const layer of layers) {
      const x = results[`/model/layers.${layer}/ffnNorm/Mul/output_0`]!.data as Float32Array
      const y = results[`/model/layers.${layer}/mlp/down/${product}/output_0`]!.data as Float32Array
      const twin = twinFeedForward(x, config, artifact.weights[layer]!, artifact.routers[layer]!)
      expect(new Set(twin.experts).size).toBe(form.experts)
      // float32 against float64 over at most 136 terms of size 1.
      expect(maxDifference(y, twin.y)).toBeLessThan(1e-4)
    }
  })

  it('gives the same logits from shards as from one file', async () => {
    const whole = await artifactOf({ model: 'llama', experts: 3, sparsity: 0.5 })
    const sharded = await artifactOf({ model: 'llama', experts: 3, sparsity: 0.5, shardBytes: 60_000 })
    const weights = openWeights(sharded.folder)
    expect(new Set([...weights.tensors.values()].map(({ file }) => file)).size).toBeGreaterThan(2)
    expect([...weights.tensors.keys()].sort()).toEqual([...openWeights(whole.folder).tensors.keys()].sort())
    const { ids } = goldenIds('llama')
    expect(await logitsOf(sharded.folder, sharded.model, ids)).toEqual(await logitsOf(whole.folder, whole.model, ids))
  })

  it('writes equal bytes for equal inputs', async () => {
    const hashes: string[][][] = []
    for (let i = 0; i < 2; i++) {
      const { folder } = await artifactOf({ model: 'llama', experts: 2, sparsity: 0.5, split: true })
      const names = readdirSync(folder).sort()
      hashes.push(await Promise.all(names.map(async (name) => [name, await fileSha256(join(folder, name))])))
    }
    const [a, b] = hashes
    expect(a).toEqual(b)
    expect(a!.map(([name]) => name)).toEqual([
      'config.json',
      'generation_config.json',
      'model.onnx',
      'model.safetensors',
      'spexpand.json',
    ])
  })

  it.each([
    [{ type: 'f16' }, { values: 'f16' }],
    [
      { type: 'int4', groupSize: 64 },
      { values: 'int4', groupSize: 64 },
    ],
  ] as const)(
    'lists every other file in the manifest, which satisfies its JSON schema: %j',
    async (values, mixture) => {
      const { folder } = await artifactOf({ model: 'llama', experts: 2, sparsity: 0.5, values })
      const schemaUrl = new URL('../../export/schema/spexpand.schema.json', import.meta.url)
      const validate = new Ajv2020({ strict: true }).compile(JSON.parse(readFileSync(schemaUrl, 'utf8')) as object)
      const manifest = JSON.parse(readFileSync(join(folder, 'spexpand.json'), 'utf8')) as Record<string, unknown>
      expect(validate(manifest), JSON.stringify(validate.errors)).toBe(true)
      expect(validate({ ...manifest, formatVersion: 2 })).toBe(false)
      expect(validate({ ...manifest, files: [{ name: '../x', bytes: 1, sha256: 'a'.repeat(64) }] })).toBe(false)
      expect(manifest['mixture']).toMatchObject(mixture)
      const files = manifest['files'] as { name: string; bytes: number; sha256: string }[]
      expect(files.map(({ name }) => name)).toEqual(
        readdirSync(folder)
          .filter((name) => name !== 'spexpand.json')
          .sort(),
      )
      for (const { name, bytes, sha256 } of files) {
        expect(readFileSync(join(folder, name)).byteLength).toBe(bytes)
        expect(await fileSha256(join(folder, name))).toBe(sha256)
      }
      expect(readFileSync(join(folder, 'spexpand.json'), 'utf8')).not.toMatch(/\/tmp|\/root|golden/)
    },
  )

  it('writes only metadata keys that the documentation has, and all of them', async () => {
    const { folder } = await artifactOf({ model: 'llama', experts: 2, sparsity: 0.5, split: true })
    const model = graphOf(folder)
    const weights = openSafetensors(join(folder, 'model.safetensors'))
    const onNodes = (op: string): string[][] =>
      model.graph.node
        .filter(({ opType, metadataProps }) => opType === op && metadataProps)
        .map(({ metadataProps }) => metadataProps!.map(({ key }) => key))
    expect(model.metadataProps.map(({ key }) => key)).toEqual(keysAt('files', 'model'))
    expect([...weights.metadata.keys()].sort()).toEqual(['format', ...keysAt('files')])
    expect(onNodes('SparseExpertMatMul')).toEqual(Array.from({ length: 6 }, () => keysAt('product')))
    expect(onNodes('ArgMax')).toEqual(Array.from({ length: 4 }, () => keysAt('router')))
    weights.close()
  })

  it('counts zeros alike for every value type, and writes each as its own tensors', async () => {
    const forms = [
      [{ type: 'f16' }, ['F16']],
      [{ type: 'bf16' }, ['BF16']],
      [{ type: 'int8', groupSize: 32 }, ['I8', 'F16']],
      [{ type: 'int4', groupSize: 32 }, ['U8', 'F16']],
    ] as const
    const sparsities: number[] = []
    for (const [values, dtypes] of forms) {
      const { folder, manifest } = await artifactOf({ model: 'llama', experts: 3, sparsity: 0.5, values })
      const weights = openWeights(folder)
      const of = (part: string): string | undefined =>
        weights.tensors.get(`model.layers.1.mlp.up_proj.experts.${part}`)?.dtype
      expect([of('values'), of('scales')].filter(Boolean)).toEqual(dtypes)
      expect(weights.metadata.get('spexpand.values')).toBe(values.type)
      expect(weights.metadata.get('spexpand.group_size')).toBe('groupSize' in values ? '32' : '0')
      weights.close()
      sparsities.push(manifest.mixture.sparsity)
    }
    expect(new Set(sparsities).size).toBe(1)
    expect(sparsities[0]).toBeGreaterThan(0.4)
  })

  it('refuses block files of another value type', async () => {
    const { folder, model, manifest } = await artifactOf({ model: 'llama', experts: 2, sparsity: 0.5 })
    const out = join(folder, '..', 'other')
    const options = { model, out, stockBody: 'stream', toolVersion: '0', ...manifest } as const
    const blockFiles = [0, 1].map((layer) => join(folder, '..', 'blocks', `${layer}.safetensors`))
    const write = (): Promise<unknown> =>
      writeArtifact({ ...options, blockFiles, values: { type: 'int8', groupSize: 0 } })
    await expect(write()).rejects.toThrow(IntegrityError)
    await expect(write()).rejects.toThrow(/experts.values" is F16 .* expected I8/)
  })

  it('keeps everything but the FF matrices bit for bit', async () => {
    const { folder, model } = await artifactOf({ model: 'llama-bf16', experts: 2, sparsity: 0.5 })
    const weights = openWeights(folder)
    for (const name of model.weights.tensors.keys())
      if (/mlp\.(gate|up|down)_proj\.weight$/.test(name)) expect(weights.tensors.has(name)).toBe(false)
      else expect(weights.readBytes(name)).toEqual(model.weights.readBytes(name))
    weights.close()
  })

  it('leaves no manifest behind when a block file does not fit', async () => {
    const { folder, model, manifest } = await artifactOf({ model: 'llama', experts: 2, sparsity: 0.5 })
    const parent = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
    made.push(parent)
    mkdirSync(join(parent, 'out'))
    writeFileSync(join(parent, 'out', 'spexpand.json'), '{}')
    const options = { model, out: join(parent, 'out'), stockBody: 'stream', toolVersion: '0', ...manifest } as const
    const blockFile = join(folder, '..', 'blocks', '0.safetensors')
    await expect(writeArtifact({ ...options, blockFiles: [blockFile, blockFile] })).rejects.toThrow(IntegrityError)
    await expect(writeArtifact({ ...options, blockFiles: [blockFile] })).rejects.toThrow(
      /got 1 finished blocks, the model has 2/,
    )
    expect(existsSync(join(parent, 'out', 'model.safetensors'))).toBe(false)
  })
})

describe('foldPeakBytes()', () => {
  it('is 25 bytes a weight with one expert and 33 with several, 9 more with scales for groups', () => {
    expect(foldPeakBytes(1000, 1)).toBe(25_000)
    expect(foldPeakBytes(1000, 4)).toBe(132_000)
    expect(foldPeakBytes(1000, 4, 128)).toBe(168_000)
  })
})
