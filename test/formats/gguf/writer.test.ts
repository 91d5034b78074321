import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { ShapeError } from '../../../src/errors.ts'
import { encodeNumbers } from '../../../src/formats/gguf/encode.ts'
import { openGguf } from '../../../src/formats/gguf/reader.ts'
import type { GgufEntry, GgufValue } from '../../../src/formats/gguf/writer.ts'
import { createGgufWriter } from '../../../src/formats/gguf/writer.ts'
import { createRng } from '../../../src/linalg/rng.ts'

const folder = mkdtempSync(join(tmpdir(), 'spexpand-gguf-writer-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const golden = (name: string): string => join(import.meta.dirname, '../../golden/gguf', name)

describe('encodeNumbers()', () => {
  // The golden files hold one matrix, quantised by the Python package gguf.
  it.each(['F16', 'BF16', 'Q8_0'] as const)('encodeNumbers() gives the bytes of the Python package as %s', (kind) => {
    const [plain, other] = [openGguf(golden('tensor-F32.gguf')), openGguf(golden(`tensor-${kind}.gguf`))]
    const W = plain.readRowsF32('blk.0.ffn_up.weight')
    expect(encodeNumbers(kind, W)).toEqual(other.readRows('blk.0.ffn_up.weight'))
    plain.close()
    other.close()
  })

  it('encodeNumbers() as Q8_0 is off by half a step at most, and keeps zeros', () => {
    fc.assert(
      fc.property(fc.float32Array({ minLength: 32, maxLength: 32, noNaN: true, min: -1000, max: 1000 }), (numbers) => {
        const W = Float32Array.from(numbers, (w, i) => (i % 3 === 0 ? 0 : w))
        const bytes = encodeNumbers('Q8_0', W)
        expect(bytes.byteLength).toBe(34)
        const file = join(folder, 'block.gguf')
        write(file, [{ name: 'w', kind: 'Q8_0', shape: [32] }], new Map([['w', bytes]]))
        const read = openGguf(file)
        const back = read.readRowsF32('w')
        read.close()
        const largest = W.reduce((a, w) => Math.max(a, Math.abs(w)), 0)
        // Half a step of 1/127, and the scale is rounded to 11 bits, below 2⁻¹⁴ to a multiple of 2⁻²⁴.
        const bound = largest * (0.5 / 127 + 2 ** -11) * (1 + 1e-6) + 127 * 2 ** -25
        W.forEach((w, i) => expect(Math.abs(back[i]! - w)).toBeLessThanOrEqual(bound))
        W.forEach((w, i) => w === 0 && expect(back[i]).toBe(0))
      }),
      { numRuns: 30 },
    )
  })
})

function write(
  path: string,
  entries: readonly GgufEntry[],
  tensors: ReadonlyMap<string, Uint8Array>,
  metadata: ReadonlyMap<string, GgufValue> = new Map(),
): number {
  const writer = createGgufWriter(path, metadata, entries)
  for (const [name, bytes] of tensors) writer.write(name, bytes)
  return writer.finish()
}

function bytesOf(W: Float32Array): Uint8Array {
  return new Uint8Array(W.buffer)
}

describe('createGgufWriter()', () => {
  const { normal } = createRng(4)
  const A = Float32Array.from({ length: 6 * 4 * 5 }, normal)
  const v = Float32Array.from({ length: 7 }, normal)
  const entries: GgufEntry[] = [
    { name: 'vector', kind: 'F32', shape: [7] },
    { name: 'stack', kind: 'F32', shape: [4, 6, 5] },
  ]

  it('createGgufWriter() writes what openGguf() reads, pieces and any order of tensors', () => {
    const path = join(folder, 'a.gguf')
    const words = ['a', '', 'Ġé😀']
    const metadata = new Map<string, GgufValue>([
      ['general.architecture', { type: 'string', value: 'llama' }],
      ['u', { type: 'u32', value: 4_000_000_000 }],
      ['f', { type: 'f32', value: 0.5 }],
      ['yes', { type: 'bool', value: true }],
      ['words', { type: 'strings', value: words }],
      ['types', { type: 'i32s', value: [-1, 3] }],
      ['scores', { type: 'f32s', value: [-0.25, 8] }],
      ['long', { type: 'strings', value: Array.from({ length: 30_000 }, (_, i) => `token ${i}`) }],
    ])
    const writer = createGgufWriter(path, metadata, entries)
    const stack = bytesOf(A)
    writer.write('stack', stack.subarray(0, 100))
    writer.write('vector', bytesOf(v))
    writer.write('stack', stack.subarray(100))
    const bytes = writer.finish()
    expect(readFileSync(path).byteLength).toBe(bytes)
    const read = openGguf(path)
    expect(read.metadata.get('u')).toBe(4_000_000_000)
    expect(read.metadata.get('f')).toBe(0.5)
    expect(read.metadata.get('yes')).toBe(true)
    expect(read.metadata.get('words')).toEqual(words)
    expect(read.metadata.get('types')).toEqual([-1, 3])
    expect(read.metadata.get('scores')).toEqual([-0.25, 8])
    expect(read.metadata.get('long')).toHaveLength(30_000)
    expect(read.get('stack').shape).toEqual([4, 6, 5])
    expect(read.readRowsF32('stack')).toEqual(A)
    expect(read.readRowsF32('vector')).toEqual(v)
    expect([read.get('stack').offset % 32, read.get('vector').offset % 32]).toEqual([0, 0])
    read.close()
  })

  it('createGgufWriter() refuses too many bytes, too few, unknown names and half blocks', () => {
    const path = join(folder, 'b.gguf')
    const writer = createGgufWriter(path, new Map(), entries)
    expect(() => writer.write('vector', new Uint8Array(29))).toThrow(ShapeError)
    expect(() => writer.write('matrix', new Uint8Array(1))).toThrow(/not announced/)
    writer.write('vector', bytesOf(v))
    expect(() => writer.finish()).toThrow(/"stack" got 0 of 480 bytes/)
    writer.abort()
    expect([existsSync(path), existsSync(`${path}.partial`)]).toEqual([false, false])
    expect(() => createGgufWriter(path, new Map(), [{ name: 'w', kind: 'Q8_0', shape: [2, 33] }])).toThrow(
      /rows a multiple of 32 numbers/,
    )
  })
})
