import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { gguf } from '@huggingface/gguf'
import { describe, expect, it } from 'vitest'
import { SpexpandError, UnsupportedError } from '../../../src/errors.ts'
import { openGguf, rowsOf } from '../../../src/formats/gguf/reader.ts'
import { readSafetensors } from '../../../src/formats/safetensors/reader.ts'
import { f32Tensor, ggufBytes, text, u32, u64, writeGguf } from '../../fixtures/gguf.ts'
import { temporaryFolder } from '../temp.ts'
import { naiveRow } from './naive.ts'

const GOLDEN = path.join(import.meta.dirname, '../../golden/gguf')
const KINDS = [
  ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'],
  ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'],
].flat()
const MATRIX = 'blk.0.ffn_up.weight'
const folder = temporaryFolder()

function bitsOf(numbers: Float32Array): Uint32Array {
  return new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length)
}

function opened<T>(file: string, use: (file: ReturnType<typeof openGguf>) => T): T {
  const one = openGguf(file)
  try {
    return use(one)
  } finally {
    one.close()
  }
}

function file(bytes: Uint8Array): string {
  const name = path.join(folder, 'file.gguf')
  fs.writeFileSync(name, bytes)
  return name
}

/** The fields before metadata and tensors, which may promise more of them than there are. */
function head(tensors: number, keys: number | bigint): Buffer {
  return Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors), u64(keys)])
}

function entry(name: string, dims: readonly (number | bigint)[], kind: number, offset: number): Buffer {
  return Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(kind), u64(offset)])
}

describe('readRowsF32()', () => {
  it.each(KINDS)('decodes %s to the bits of the reference', (kind) => {
    const { tensors } = readSafetensors(path.join(GOLDEN, `tensor-${kind}.expected.safetensors`))
    const expected = new Float32Array(Uint8Array.from(tensors.get('expected')!.bytes).buffer)
    opened(path.join(GOLDEN, `tensor-${kind}.gguf`), (one) => {
      expect(one.get(MATRIX).kind.name).toBe(kind)
      expect(one.get(MATRIX).shape).toEqual([6, 512])
      expect(bitsOf(one.readRowsF32(MATRIX))).toEqual(bitsOf(expected))
      expect(bitsOf(one.readRowsF32(MATRIX, 2, 4))).toEqual(bitsOf(expected.slice(1024, 2048)))
    })
  })

  it.each(KINDS)('decodes any bits of %s as a decoder of single weights does', (kind) => {
    const { kind: one, row } = opened(path.join(GOLDEN, `tensor-${kind}.gguf`), (gguf) => ({
      kind: gguf.get(MATRIX).kind,
      row: gguf.readRows(MATRIX, 0, 1),
    }))
    const blocks = 512 / one.elements
    fc.assert(
      fc.property(fc.uint8Array({ minLength: row.byteLength, maxLength: row.byteLength }), (bytes) => {
        const out = new Float32Array(512)
        one.decode(bytes, 0, blocks, out, 0)
        // NaN scales are NaN in both; their bits are free.
        expect(naiveRow(kind, bytes, 512).findIndex((weight, j) => !Object.is(weight, out[j]))).toBe(-1)
      }),
      { numRuns: 30 },
    )
  })

  it('refuses rows that are not there', () => {
    opened(path.join(GOLDEN, 'tensor-Q4_K.gguf'), (one) => {
      expect(() => one.readRowsF32(MATRIX, 0, 7)).toThrow(/rows 0 to 7 of tensor "blk.0.ffn_up.weight": it has 6/)
      expect(() => one.get('output.weight')).toThrow(/no tensor "output.weight"/)
    })
  })
})

describe('openGguf()', () => {
  it.each(['llama-f32', 'tensor-Q6_K'])('reads of %s what @huggingface/gguf reads', async (name) => {
    const uri = path.join(GOLDEN, `${name}.gguf`)
    const theirs = await gguf(uri, { allowLocalFile: true })
    opened(uri, (ours) => {
      const { version: _, tensor_count: tensors, kv_count: keys, ...metadata } = theirs.metadata
      expect(ours.tensors.size).toBe(Number(tensors))
      expect(ours.metadata.size).toBe(Number(keys))
      expect(Object.fromEntries(ours.metadata)).toEqual(metadata)
      for (const info of theirs.tensorInfos) {
        const tensor = ours.get(info.name)
        expect(tensor.shape).toEqual(info.shape.map(Number).toReversed())
        expect(tensor.offset).toBe(Number(theirs.tensorDataOffset + info.offset))
      }
    })
  })

  it('keeps every type of metadata, and 64-bit integers exact', () => {
    const bytes = ggufBytes(
      {
        'a.u32': { type: 'u32', value: 4294967295 },
        'a.i32': { type: 'i32', value: -3 },
        'a.f32': { type: 'f32', value: 0.5 },
        'a.bool': { type: 'bool', value: 1 },
        'a.u64': { type: 'u64', value: 2 ** 53 },
        'a.small': { type: 'u64', value: 7 },
        'a.text': { type: 'string', value: 'Ġé' },
        'a.list': { type: 'strings', value: ['', 'x'] },
        'a.numbers': { type: 'f32s', value: [] },
      },
      { v: f32Tensor([3], [1, 2, 3]) },
    )
    opened(file(bytes), (one) => {
      expect(Object.fromEntries(one.metadata)).toEqual({
        'a.u32': 4294967295,
        'a.i32': -3,
        'a.f32': 0.5,
        'a.bool': true,
        'a.u64': 2n ** 53n,
        'a.small': 7,
        'a.text': 'Ġé',
        'a.list': ['', 'x'],
        'a.numbers': [],
      })
      expect(rowsOf(one.get('v'))).toEqual({ rows: 1, cols: 3 })
      expect([...one.readRowsF32('v')]).toEqual([1, 2, 3])
    })
  })

  const matrix = f32Tensor([2, 32], new Float32Array(64))
  it.each([
    ['an empty file', new Uint8Array(0), /needs 4 bytes, the file has 0 more/],
    ['another format', Buffer.from('PK\x03\x04 and more'), /does not begin with "GGUF"/],
    ['a number of keys beyond the limit', head(0, 2n ** 63n), /number of metadata keys .* is 9223372036854775808/],
    ['more keys than there are bytes', head(0, 99_999), /needs 8 bytes, the file has 0 more: it is cut short/],
    [
      'a string longer than the file',
      Buffer.concat([head(0, 1), u64(1e9)]),
      /length of a metadata key .* is 1000000000/,
    ],
    [
      'a list longer than the file',
      Buffer.concat([head(0, 1), text('k'), u32(9), u32(4), u64(7_000_000)]),
      /the list "k" at byte 49 needs 28000000 bytes, the file has 0 more/,
    ],
    [
      'lists in lists in lists',
      Buffer.concat([head(0, 1), text('k'), u32(9), u32(9), u64(1), u32(9), u64(1), u32(9), u64(1)]),
      /metadata "k" has type 9 at depth 2, expected 0 to 12, lists at most two deep/,
    ],
    ['an unknown type', Buffer.concat([head(0, 1), text('k'), u32(13)]), /metadata "k" has type 13/],
    [
      'a key twice',
      Buffer.concat([head(0, 2), text('k'), u32(4), u32(1), text('k'), u32(4), u32(1)]),
      /metadata "k" appears twice/,
    ],
    ['bad UTF-8', Buffer.concat([head(0, 1), u64(1), Buffer.of(0xff)]), /a metadata key at byte 32 is not UTF-8/],
    ['five dimensions', Buffer.concat([head(1, 0), entry('t', [1, 1, 1, 1, 1], 0, 0)]), /has 5 dimensions/],
    ['a product above 2^64', Buffer.concat([head(1, 0), entry('t', [2n ** 40n, 2n ** 40n], 0, 0)]), /it is cut short/],
    ['a row that is no whole block', Buffer.concat([head(1, 0), entry('t', [33], 2, 0)]), /wants a multiple of 32/],
    ['an offset out of step', Buffer.concat([head(1, 0), entry('t', [1], 0, 4), Buffer.alloc(99)]), /a multiple of 32/],
    [
      'tensors over each other',
      Buffer.concat([head(2, 0), entry('a', [16], 0, 0), entry('b', [16], 0, 32), Buffer.alloc(160)]),
      /"a" and "b" overlap/,
    ],
    [
      'a tensor twice',
      Buffer.concat([head(2, 0), entry('a', [8], 0, 0), entry('a', [8], 0, 32), Buffer.alloc(160)]),
      /tensor "a" appears twice/,
    ],
    ['data cut short', ggufBytes({}, { matrix }).subarray(0, -1), /tensor "matrix" .* ends at byte \d+, the file has/],
    ['a bad alignment', ggufBytes({ 'general.alignment': { type: 'u32', value: 12 } }, {}), /general.alignment is 12/],
  ])('refuses %s', (_, bytes, message) => {
    const name = file(bytes)
    expect(() => openGguf(name)).toThrow(message)
  })

  it('names versions and types that it does not read', () => {
    expect(() => openGguf(file(ggufBytes({}, {}, { version: 1 })))).toThrow(/its version is 1/)
    expect(() => openGguf(file(ggufBytes({}, {}, { version: 3 << 24 })))).toThrow(/it is big-endian/)
    const bytes = Buffer.concat([head(1, 0), entry('t', [256], 16, 0), Buffer.alloc(160)])
    expect(() => openGguf(file(bytes))).toThrow(UnsupportedError)
    expect(() => openGguf(file(bytes))).toThrow(/its type is IQ2_XXS, supported are F32, F16/)
  })

  it('answers changed bytes of a header with a value or one of our errors, never with another', () => {
    const golden = fs.readFileSync(path.join(GOLDEN, 'tensor-Q4_0.gguf'))
    const changes = fc.array(fc.tuple(fc.nat(220), fc.nat(255)), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(changes, fc.option(fc.nat(golden.length)), (list, length) => {
        const bytes = Uint8Array.from(golden.subarray(0, length ?? golden.length))
        for (const [at, byte] of list) if (at < bytes.length) bytes[at] = byte
        const name = file(bytes)
        try {
          openGguf(name).close()
        } catch (error) {
          expect(error).toBeInstanceOf(SpexpandError)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('reads an alignment of its own', () => {
    const name = writeGguf(
      path.join(folder, 'aligned.gguf'),
      { 'general.alignment': { type: 'u32', value: 256 } },
      { a: f32Tensor([1], [5]), b: f32Tensor([1], [6]) },
      { alignment: 256 },
    )
    opened(name, (one) => expect([one.readRowsF32('a')[0], one.readRowsF32('b')[0]]).toEqual([5, 6]))
  })
})
