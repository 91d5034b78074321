import fs from 'node:fs'
import path from 'node:path'
import { fetchModel } from '../../src/hub/snapshot.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { openModel } from '../../src/model/open.ts'
import { sourceHash } from '../../src/pipeline/fingerprint.ts'
import { resolveOptions } from '../../src/pipeline/options.ts'
import { readGriffin } from '../../src/pipeline/predict/griffin-option.ts'
import { openHire } from '../../src/pipeline/predict/hire-option.ts'
import { profileFromReport, readProfile } from '../../src/pipeline/profile.ts'
import { RunState } from '../../src/pipeline/state.ts'
import { openArtifact, readGraph } from '../../src/verify/artifact.ts'
import { ffLayers } from '../../src/verify/ff-layers.ts'
import { checkExperts, checkExternalData } from '../../src/verify/structure.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'
import { framed } from './file-targets.ts'
import type { Seed, Target } from './target.ts'
import { jsonSeed } from './target.ts'

type Json = Record<string, unknown>

/** Readers of what this project writes itself: artifacts, profiles, reports, unfinished runs; `tiny` is a sound model. */
export async function artifactTargets(scratch: string, tiny: string): Promise<Target[]> {
  const { folder, model } = await randomArtifact({
    model: tiny,
    experts: 2,
    sparsity: 0.5,
    parent: path.join(scratch, 'artifact'),
  })
  model.close()
  return [
    ...artifact(folder),
    ...(await profiles(scratch, tiny)),
    ...runState(scratch, tiny, path.join(folder, '../blocks/0.safetensors')),
    griffin(scratch, tiny),
    hubIndex(scratch, tiny),
  ]
}

/** The manifest without checksums of its own and of tensors, as older versions wrote it: its fields are what is fuzzed. */
function unsealed(text: string): Json {
  const { manifestSha256: _, ...manifest } = JSON.parse(text) as Json & { files: Json[] }
  return { ...manifest, files: manifest.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })) }
}

function artifact(folder: string): Target[] {
  const at = (name: string): string => path.join(folder, name)
  const files = Object.fromEntries(
    ['spexpand.json', 'model.onnx', 'model.safetensors'].map((name) => [name, fs.readFileSync(at(name))]),
  ) as Record<string, Buffer>
  const sealed = files['spexpand.json']!.toString()
  const manifest = unsealed(sealed) as Json & { files: { name: string; bytes: number }[] }
  /** Writes the artifact with one file changed, its size as the manifest says: only checksums would tell. */
  const write = (name: string, bytes: Uint8Array): void => {
    for (const [other, sound] of Object.entries(files)) fs.writeFileSync(at(other), other === name ? bytes : sound)
    if (name === 'spexpand.json') return
    const listed = manifest.files.map((file) => (file.name === name ? { ...file, bytes: bytes.length } : file))
    fs.writeFileSync(at('spexpand.json'), JSON.stringify({ ...manifest, files: listed }))
  }
  const check = (): void => {
    openArtifact(folder)
    const graph = readGraph(folder)
    const layers = ffLayers(graph, folder)
    const store = openWeights(folder)
    try {
      checkExternalData(graph, store)
      checkExperts(store, layers)
    } finally {
      store.close()
    }
  }
  const softmax = { predictor: { kind: 'lr', rank: 2 }, k: 1, kPrime: 2, recall: 0.5 }
  const hire = { version: 1, graph: 'hire.onnx', layers: [], softmax }
  fs.copyFileSync(at('model.onnx'), at('hire.onnx'))
  return [
    {
      name: 'spexpand.json',
      seeds: [jsonSeed(manifest), jsonSeed({ ...manifest, hire }), jsonSeed(sealed)],
      words: ['"files":[]', '"../model.onnx"', '"formatVersion":2', '__proto__', '"manifestSha256":"'],
      read(bytes) {
        write('spexpand.json', bytes)
        check()
        if ('hire' in (JSON.parse(Buffer.from(bytes).toString()) as Json)) openHire(folder)
      },
    },
    {
      name: 'artifact: model.onnx',
      share: 0.25,
      seeds: [{ bytes: files['model.onnx']!, isMessage: true }],
      words: ['spexpand.layer', 'model.safetensors', '../x', 'SparseExpertMatMul', 'ArgMax'],
      read(bytes) {
        write('model.onnx', bytes)
        check()
      },
    },
    {
      name: 'artifact: model.safetensors',
      share: 0.25,
      seeds: [weightSeed(files['model.safetensors']!)],
      words: ['spexpand.group_size', '.experts.mask', '"I64"', '__proto__'],
      read(bytes) {
        write('model.safetensors', bytes)
        check()
      },
    },
  ]
}

function weightSeed(bytes: Buffer): Seed {
  const length = Number(bytes.readBigUInt64LE(0))
  const data = bytes.subarray(8 + length)
  return {
    bytes,
    json: { text: bytes.subarray(8, 8 + length).toString(), rebuild: (text) => framed(text, data) },
  }
}

async function profiles(scratch: string, tiny: string): Promise<Target[]> {
  const file = path.join(scratch, 'profile.json')
  const model = openModel(tiny)
  const { sha256 } = await sourceHash(model)
  const options = resolveOptions({})
  const wd = Array.from({ length: model.config.ff }, (_, i) => 0.1 + (i % 7) / 10)
  const ri = wd.map((value) => 1 + value / 4)
  const report = {
    reportVersion: 1,
    sourceSha256: sha256,
    shape: { layers: 1 },
    mixture: { experts: 4, sparsity: 0.7 },
    matrices: ['gate_proj', 'up_proj'].map((matrix) => ({ matrix, layer: 0, wd, expansion: { ri, error: ri } })),
  }
  return [
    {
      name: 'experts profile',
      seeds: [
        jsonSeed({ profileVersion: 1, sourceSha256: sha256, rule: 'by hand', layers: [{ experts: 4 }] }),
        jsonSeed({ profileVersion: 1, layers: [{ experts: 1, sparsity: 0.5 }, { experts: 256 }] }),
      ],
      words: ['__proto__', '1e999', '"layers":'],
      read(bytes) {
        fs.writeFileSync(file, bytes)
        return readProfile(file)
      },
    },
    {
      name: 'entanglement.json',
      seeds: [jsonSeed(report), jsonSeed({ ...report, mixture: undefined })],
      words: ['__proto__', '1e999', 'null', '"layer":4294967296'],
      async read(bytes) {
        fs.writeFileSync(file, bytes)
        const { layers } = await profileFromReport(file, model, options, 0.1)
        for (const { experts, sparsity } of layers)
          if (!(experts >= 1 && experts <= 256) || (sparsity !== undefined && !(sparsity >= 0 && sparsity < 1)))
            throw new RangeError(`proposes ${experts} experts, sparsity ${sparsity}`)
      },
    },
  ]
}

/** What an interrupted run leaves in .spexpand. */
function runState(scratch: string, tiny: string, blockFile: string): Target[] {
  const model = openModel(tiny)
  const fingerprint = { model: 'a'.repeat(64), experts: 2, sparsity: 0.5, trueSequential: false }
  const form = { type: 'f16' } as const
  const out = path.join(scratch, 'unfinished')
  const state = path.join(out, '.spexpand')
  fs.mkdirSync(state, { recursive: true })
  const run = JSON.stringify(fingerprint)
  const sound = fs.readFileSync(blockFile)
  const length = Number(sound.readBigUInt64LE(0))
  const header = JSON.parse(sound.subarray(8, 8 + length).toString()) as Json
  const record = JSON.stringify({ stats: { layer: 0, tokensPerExpert: [1, 2], matrices: [] }, fallbacks: [] })
  const block = framed(
    JSON.stringify({ ...header, __metadata__: { 'spexpand.block': record } }),
    sound.subarray(8 + length),
  )
  const open = (runBytes: Uint8Array | string, blockBytes: Uint8Array): void => {
    fs.writeFileSync(path.join(state, 'run.json'), runBytes)
    fs.writeFileSync(path.join(state, 'block-00000.safetensors'), blockBytes)
    const unfinished = RunState.begin(out, model, form, fingerprint)
    try {
      const { experts, stats, fallbacks } = unfinished.load(0)
      if (experts.up_proj.length < 1 || !Array.isArray(fallbacks) || typeof stats !== 'object')
        throw new TypeError('no block')
    } finally {
      unfinished.close()
    }
  }
  return [
    {
      name: 'run.json',
      seeds: [jsonSeed(run)],
      words: ['__proto__', '"experts":3', 'null'],
      read: (bytes) => open(bytes, block),
    },
    {
      name: 'block of a run',
      seeds: [weightSeed(block)],
      words: ['"spexpand.block":"null"', '.experts.mask', '"shape":[2,40,4]'],
      read: (bytes) => open(run, bytes),
    },
  ]
}

function griffin(scratch: string, tiny: string): Target {
  const file = path.join(scratch, 'griffin.json')
  const { config, close } = openModel(tiny)
  close()
  const origin = { name: 'tiny', sha256: 'b'.repeat(64) }
  return {
    name: 'griffin.json',
    seeds: [
      jsonSeed({ formatVersion: 1, source: origin, scores: 'statistic', select: 'top-k', seed: 0, densities: [0.5] }),
    ],
    words: ['__proto__', '"densities":[2]'],
    read(bytes) {
      fs.writeFileSync(file, bytes)
      return readGriffin(file, { origin, folder: tiny, config } as Parameters<typeof readGriffin>[1])
    },
  }
}

/** A cached snapshot whose index names shards, read without any server. */
function hubIndex(scratch: string, tiny: string): Target {
  const repository = path.join(scratch, 'hub', 'models--owner--name')
  const commit = 'c'.repeat(40)
  const snapshot = path.join(repository, 'snapshots', commit)
  fs.cpSync(tiny, snapshot, { recursive: true })
  fs.renameSync(path.join(snapshot, 'model.safetensors'), path.join(snapshot, 'model-00001-of-00001.safetensors'))
  const settings = {
    cacheFolder: path.join(scratch, 'hub'),
    endpoint: 'http://localhost:1',
    offline: true,
    retryWaitsMs: [],
  }
  return {
    name: 'hub index',
    seeds: [jsonSeed({ weight_map: { a: 'model-00001-of-00001.safetensors' } })],
    words: ['../', '__proto__', '"weight_map":null', '/etc/passwd'],
    async read(bytes) {
      fs.writeFileSync(path.join(snapshot, 'model.safetensors.index.json'), bytes)
      await fetchModel({ repository: 'owner/name' }, settings, { revision: commit })
    },
  }
}
