import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FormatError } from '../../../src/errors.ts'
import { openSafetensors } from '../../../src/formats/safetensors/reader.ts'
import { openWeights } from '../../../src/formats/safetensors/weights.ts'
import { writeSafetensors } from '../../../src/formats/safetensors/writer.ts'
import { recordReads } from '../reads.ts'
import { temporaryFolder } from '../temp.ts'

const malformed = 'test/golden/malformed'
const sharded = 'test/golden/models/llama-sharded'
afterEach(() => vi.restoreAllMocks())

describe('openWeights()', () => {
  it.each([
    ['index-missing-shard', 'it is missing'],
    ['index-tensor-not-in-shard', 'puts tensor "c" in model-00001-of-00002.safetensors, which does not have it'],
    ['index-parent-path', '"../ok-two-tensors.safetensors", expected a file inside'],
    ['index-absolute-path', '"/dev/null", expected a file inside'],
    ['index-no-weight-map', 'weight_map is missing'],
    ['index-number-shard', 'weight_map["a"] is bigint, expected a file name'],
  ])('refuses %s', (folder, part) => {
    expect(() => openWeights(path.join(malformed, folder))).toThrow(FormatError)
    expect(() => openWeights(path.join(malformed, folder))).toThrow(part)
  })

  it('names the folder that has no weights', () => {
    expect(() => openWeights('test/golden/config-v4')).toThrow(
      /^Cannot open the weights of test\/golden\/config-v4: got neither/,
    )
  })

  it('reads a sharded model by name, and only the tensors of its index', () => {
    const store = openWeights(sharded)
    const index = JSON.parse(fs.readFileSync(path.join(sharded, 'model.safetensors.index.json'), 'utf8')) as {
      weight_map: Record<string, string>
    }
    expect([...store.tensors.keys()].sort()).toEqual(Object.keys(index.weight_map).sort())
    for (const [name, shard] of Object.entries(index.weight_map)) {
      const file = openSafetensors(path.join(sharded, shard))
      expect(store.get(name)).toEqual(file.get(name))
      expect(store.readBytes(name)).toEqual(file.readBytes(name))
      file.close()
    }
    expect(() => store.get('logits')).toThrow(FormatError)
    store.close()
  })

  it('reads headers only: two shards cost two reads each and no byte of data', () => {
    const reads = recordReads()
    const store = openWeights(sharded)
    const headBytes = [...new Set([...store.tensors.values()].map(({ file }) => file))].map((file) =>
      Math.min(...[...store.tensors.values()].filter((info) => info.file === file).map(({ offset }) => offset)),
    )
    const indexBytes = fs.statSync(path.join(sharded, 'model.safetensors.index.json')).size
    const read = reads.reduce((n, { byteLength }) => n + byteLength, 0)
    expect(headBytes).toHaveLength(2)
    expect(reads).toHaveLength(5)
    expect(read).toBe(indexBytes + headBytes[0]! + headBytes[1]!)
    store.close()
  })

  it('takes model.safetensors and no other file of the folder', () => {
    const store = openWeights('test/golden/models/llama')
    expect(store.tensors.has('model.embed_tokens.weight')).toBe(true)
    expect(store.tensors.has('logits')).toBe(false)
    expect(store.metadata.get('format')).toBe('pt')
    store.close()
  })

  it('merges the metadata of the shards', () => {
    const folder = temporaryFolder()
    const tensor = { dtype: 'U8', shape: [1], bytes: new Uint8Array(1) } as const
    writeSafetensors(path.join(folder, 'a.safetensors'), { a: tensor }, { format: 'pt', one: '1' })
    writeSafetensors(path.join(folder, 'b.safetensors'), { b: tensor }, { format: 'np', two: '2' })
    fs.writeFileSync(
      path.join(folder, 'model.safetensors.index.json'),
      '{"metadata":{"total_size":2.0},"weight_map":{"b":"b.safetensors","a":"a.safetensors"}}',
    )
    const store = openWeights(folder)
    expect(Object.fromEntries(store.metadata)).toEqual({ format: 'pt', one: '1', two: '2' })
    store.close()
  })
})
