import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { amendArtifact } from '../../export/amend.ts'
import { IntegrityError, UsageError } from '../../src/errors.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { createSession } from '../../src/runtime/session.ts'
import { checkIntegrity, openArtifact, readGraph } from '../../src/verify/artifact.ts'
import { checkExternalData } from '../../src/verify/structure.ts'
import { runDecoder } from '../fixtures/decoder.ts'
import type { RandomArtifact } from '../fixtures/randomArtifact.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

const made: string[] = []
afterAll(() => made.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

async function artifactOf(shardBytes?: number): Promise<RandomArtifact> {
  const artifact = await randomArtifact({
    model: 'llama-f16',
    experts: 2,
    sparsity: 0.5,
    ...(shardBytes === undefined ? {} : { shardBytes }),
  })
  made.push(join(artifact.folder, '..'))
  return artifact
}

/** Long enough to move the data by many alignments. */
const LONG = 'x'.repeat(1000)
const tensor = {
  name: 'model.layers.0.mlp.extra',
  dtype: 'F32' as const,
  shape: [2],
  read: (start: number, end: number) => new Uint8Array(Float32Array.of(1, 2).buffer).subarray(start, end),
}

async function logits({ folder, model }: RandomArtifact): Promise<Float32Array> {
  const session = await createSession(join(folder, 'model.onnx'), { threads: 1 })
  try {
    return (await runDecoder(session, model.config, { ids: BigInt64Array.of(1n, 5n, 2n, 9n), batch: 1 })).logits
  } finally {
    await session.release()
  }
}

function contents(folder: string): Record<string, string> {
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name)).toString('hex')]))
}

describe('amendArtifact()', () => {
  it.each([undefined, 20_000])(
    'adds everywhere and leaves the function as it is (shards of %s)',
    async (shardBytes) => {
      const artifact = await artifactOf(shardBytes)
      const { folder } = artifact
      const before = await logits(artifact)
      writeFileSync(join(folder, 'notes.txt'), 'mine')
      mkdirSync(join(folder, 'report'))
      writeFileSync(join(folder, 'report', 'page.html'), 'page')
      const inode = statSync(join(folder, 'config.json')).ino
      await amendArtifact(folder, {
        sections: { griffin: { version: 1 } },
        model: { 'spexpand.griffin': LONG },
        nodes: ({ opType }) => (opType === 'SparseExpertMatMul' ? { 'spexpand.griffin': '{}' } : {}),
        weights: { 'spexpand.griffin': LONG },
        tensors: [tensor],
        files: { 'griffin.html': '<html>' },
      })
      expect(await logits(artifact)).toEqual(before)
      const opened = openArtifact(folder)
      await checkIntegrity(opened)
      expect(JSON.parse(readFileSync(join(folder, 'spexpand.json'), 'utf8'))).toMatchObject({ griffin: { version: 1 } })
      expect(opened.manifest.files.map(({ name }) => name)).toContain('griffin.html')
      const graph = readGraph(folder)
      expect(graph.metadataProps).toContainEqual({ key: 'spexpand.griffin', value: LONG })
      expect(graph.metadataProps.map(({ key }) => key)).toContain('spexpand.method')
      const product = graph.graph.node.find(({ opType }) => opType === 'SparseExpertMatMul')!
      expect(product.metadataProps!.map(({ key }) => key)).toEqual(
        expect.arrayContaining(['spexpand.griffin', 'spexpand.layer']),
      )
      const store = openWeights(folder)
      expect(checkExternalData(graph, store)).toBeGreaterThan(0)
      expect([...store.readF32(tensor.name)]).toEqual([1, 2])
      expect(store.metadata.get('spexpand.griffin')).toBe(LONG)
      expect(store.metadata.get('format')).toBe('pt')
      store.close()
      expect(readFileSync(join(folder, 'notes.txt'), 'utf8')).toBe('mine')
      expect(readFileSync(join(folder, 'report', 'page.html'), 'utf8')).toBe('page')
      expect(statSync(join(folder, 'config.json')).ino).toBe(inode)
      expect(readdirSync(join(folder, '..')).sort()).toEqual(['artifact', 'blocks'])
    },
  )

  it('replaces what an earlier amendment added: twice the same gives the same bytes', async () => {
    const { folder } = await artifactOf()
    const amendment = {
      sections: { griffin: { version: 1 } },
      weights: { 'spexpand.griffin': LONG },
      tensors: [tensor],
    }
    await amendArtifact(folder, {
      ...amendment,
      sections: { griffin: { version: 0 } },
      weights: { 'spexpand.griffin': 'other' },
    })
    await amendArtifact(folder, amendment)
    const once = contents(folder)
    await amendArtifact(folder, amendment)
    expect(contents(folder)).toEqual(once)
  })

  it('gives the graph the places of new tensors', async () => {
    const { folder } = await artifactOf()
    let offset = 0
    await amendArtifact(folder, {
      sections: {},
      tensors: [tensor],
      graph: (model, place) => {
        offset = place(tensor.name).external.offset
        return { ...model, docString: String(offset) }
      },
    })
    expect(readFileSync(join(folder, 'model.safetensors')).readFloatLE(offset + 4)).toBe(2)
    expect(readGraph(folder).docString).toBe(String(offset))
  })

  it('leaves a damaged artifact as it is, and nothing beside it', async () => {
    const { folder } = await artifactOf()
    const bytes = readFileSync(join(folder, 'model.safetensors'))
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(join(folder, 'model.safetensors'), bytes)
    const before = contents(folder)
    await expect(amendArtifact(folder, { sections: {}, weights: { a: 'b' } })).rejects.toThrow(IntegrityError)
    expect(contents(folder)).toEqual(before)
    expect(readdirSync(join(folder, '..')).sort()).toEqual(['artifact', 'blocks'])
  })

  it('leaves the old artifact when something fails on the way', async () => {
    const { folder } = await artifactOf()
    const before = contents(folder)
    const failing = { ...tensor, read: () => new Uint8Array(3) }
    await expect(amendArtifact(folder, { sections: {}, tensors: [failing] })).rejects.toThrow('got 3 of 8 bytes')
    expect(contents(folder)).toEqual(before)
    expect(readdirSync(join(folder, '..')).sort()).toEqual(['artifact', 'blocks'])
  })

  it('refuses the current folder', async () => {
    const { folder } = await artifactOf()
    const here = process.cwd()
    process.chdir(folder)
    try {
      await expect(amendArtifact(folder, { sections: {} })).rejects.toThrow(UsageError)
    } finally {
      process.chdir(here)
    }
  })
})

describe('settleFolder() by openArtifact()', () => {
  it('takes the new artifact when the run died between the renames', async () => {
    const { folder } = await artifactOf()
    const amended = await artifactOf()
    await amendArtifact(amended.folder, { sections: { griffin: { version: 2 } } })
    renameSync(folder, `${folder}.spexpand-old`)
    renameSync(amended.folder, `${folder}.spexpand-new`)
    await checkIntegrity(openArtifact(folder))
    expect(JSON.parse(readFileSync(join(folder, 'spexpand.json'), 'utf8'))).toMatchObject({ griffin: { version: 2 } })
  })

  it('keeps the old artifact when the run died before them; the next amendment clears up', async () => {
    const { folder } = await artifactOf()
    mkdirSync(`${folder}.spexpand-part`)
    mkdirSync(`${folder}.spexpand-new`)
    const before = contents(folder)
    openArtifact(folder)
    expect(contents(folder)).toEqual(before)
    await amendArtifact(folder, { sections: { griffin: { version: 2 } } })
    expect(existsSync(`${folder}.spexpand-part`) || existsSync(`${folder}.spexpand-new`)).toBe(false)
  })
})
