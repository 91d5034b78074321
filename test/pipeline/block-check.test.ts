import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FormatError, IntegrityError } from '../../src/errors.ts'
import { openSafetensors, readSafetensors } from '../../src/formats/safetensors/reader.ts'
import { writeSafetensors } from '../../src/formats/safetensors/writer.ts'
import { checkBlock, readFingerprint } from '../../src/pipeline/block-check.ts'
import type { RawTensor } from '../../src/tensor/dtype.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

const MODEL = fileURLToPath(new URL('../golden/models/llama', import.meta.url))
const BASE = 'model.layers.0.mlp.up_proj'
const RECORD = JSON.stringify({ stats: { layer: 0, tokensPerExpert: [3, 4], matrices: [] }, fallbacks: [] })
let scratch: string
let sound: Map<string, RawTensor>
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'spexpand-block-'))
  const { model } = await randomArtifact({ model: MODEL, experts: 2, sparsity: 0.5, parent: scratch })
  model.close()
  sound = readSafetensors(join(scratch, 'blocks', '0.safetensors')).tensors
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** What checkBlock() says of the block with its tensors, or its record, changed. */
function check(change: (tensors: Map<string, RawTensor>) => void, record = RECORD): unknown {
  const tensors = new Map(sound)
  change(tensors)
  mkdirSync(scratch, { recursive: true })
  const path = join(scratch, 'block.safetensors')
  writeSafetensors(path, tensors, { 'spexpand.block': record })
  const file = openSafetensors(path)
  try {
    return checkBlock(file, [{ base: BASE, outputs: 144, inputs: 64 }], { type: 'f16' })
  } finally {
    file.close()
  }
}

function flipped(name: string): (tensors: Map<string, RawTensor>) => void {
  return (tensors) => {
    const tensor = tensors.get(name)!
    const bytes = Uint8Array.from(tensor.bytes)
    bytes[bytes.length >> 1]! ^= 1
    tensors.set(name, { ...tensor, bytes })
  }
}

describe('checkBlock()', () => {
  it('gives the record of a sound block', () => {
    expect(check(() => undefined)).toEqual(JSON.parse(RECORD))
  })

  it.each<[string, (tensors: Map<string, RawTensor>) => void, RegExp]>([
    ['a mask with another bit', flipped(`${BASE}.experts.mask`), /has the offset \d+ in row \d+, its mask says/],
    ['offsets of other rows', flipped(`${BASE}.experts.row_offsets`), /has the offset \d+ in row/],
    ['no values', (tensors) => tensors.delete(`${BASE}.experts.values`), /lacks values/],
    [
      'values of another type',
      (tensors) => {
        const { shape, bytes } = tensors.get(`${BASE}.experts.values`)!
        tensors.set(`${BASE}.experts.values`, { dtype: 'BF16', shape, bytes })
      },
      /has values BF16 \[\d+\], expected F16/,
    ],
    [
      'a router without a bias of its length',
      (tensors) =>
        tensors.set('model.layers.0.mlp.router.bias', { dtype: 'F32', shape: [3], bytes: new Uint8Array(12) }),
      /"model.layers.0.mlp.router.bias" is F32 \[3\]/,
    ],
  ])('refuses %s', (_, change, message) => {
    expect(() => check(change)).toThrow(IntegrityError)
    expect(() => check(change)).toThrow(message)
    expect(() => check(change)).toThrow(/remove this file, its block is computed again/)
  })

  it.each(['', 'null', '{"stats":{}}', '{"stats":{"layer":-1}}'])('refuses the record %j', (record) => {
    expect(() => check(() => undefined, record)).toThrow(/its record of the block says of/)
  })
})

describe('readFingerprint()', () => {
  it('reads plain values and refuses anything else', () => {
    const path = join(scratch, 'run.json')
    writeFileSync(path, '{"experts": 4, "model": "a", "split": false}')
    expect(readFingerprint(path)).toEqual({ experts: 4, model: 'a', split: false })
    for (const text of ['{', 'null', '[]', '{"experts": null}', `{"a": ${'['.repeat(50_000)}${']'.repeat(50_000)}}`]) {
      writeFileSync(path, text)
      expect(() => readFingerprint(path)).toThrow(FormatError)
    }
  })
})
