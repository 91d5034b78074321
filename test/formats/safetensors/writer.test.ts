import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { afterEach, describe, expect, it, vi } from 'vitest'
import * as fc from 'fast-check'
import { ResourceError, ShapeError } from '../../../src/errors.ts'
import { planSafetensors } from '../../../src/formats/safetensors/plan.ts'
import { openSafetensors, readSafetensors } from '../../../src/formats/safetensors/reader.ts'
import { createSafetensorsWriter, writeSafetensors } from '../../../src/formats/safetensors/writer.ts'
import { DTYPE_BYTES, elementCount } from '../../../src/tensor/dtype.ts'
import type { DType, RawTensor } from '../../../src/tensor/dtype.ts'
import { temporaryFolder } from '../temp.ts'

const folder = temporaryFolder()
const at = (name: string): string => path.join(folder, name)
afterEach(() => vi.restoreAllMocks())

const anyTensor: fc.Arbitrary<RawTensor> = fc
  .record({
    dtype: fc.constantFrom(...(Object.keys(DTYPE_BYTES) as DType[])),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
    seed: fc.nat(),
  })
  .map(({ dtype, shape, seed }) => {
    const bytes = new Uint8Array(elementCount(shape) * DTYPE_BYTES[dtype])
    return { dtype, shape, bytes: bytes.map((_, i) => seed + i * 31) }
  })
const wellFormed = fc.string({ unit: 'binary', maxLength: 8 }).filter((name) => !/\p{Surrogate}/u.test(name))
const anyFile = fc.record({
  tensors: fc
    .array(fc.tuple(fc.oneof(wellFormed, fc.constantFrom('__proto__', '1', 'toString')), anyTensor), { maxLength: 6 })
    .map((list) => new Map(list)),
  metadata: fc.dictionary(wellFormed, wellFormed, { maxKeys: 4 }),
})

describe('writeSafetensors()', () => {
  it('gives back names, types, shapes, bytes and metadata through readSafetensors()', () => {
    fc.assert(
      fc.property(anyFile, ({ tensors, metadata }) => {
        writeSafetensors(at('round.safetensors'), tensors, metadata)
        const back = readSafetensors(at('round.safetensors'))
        expect(new Map([...back.tensors].sort())).toEqual(new Map([...tensors].sort()))
        expect(back.metadata).toEqual(new Map(Object.entries(metadata)))
      }),
      { numRuns: 100 },
    )
  })

  it('aligns every tensor to its element and the data to 64 bytes', () => {
    fc.assert(
      fc.property(anyFile, ({ tensors, metadata }) => {
        const plan = planSafetensors(
          [...tensors].map(([name, tensor]) => ({ name, ...tensor })),
          metadata,
        )
        expect(plan.head.byteLength % 64).toBe(0)
        for (const { dtype, offset } of plan.tensors.values()) expect(offset % DTYPE_BYTES[dtype]).toBe(0)
      }),
    )
  })

  it('writes what the safetensors package of npm reads (it cannot read metadata)', () => {
    const require = createRequire(import.meta.url)
    type Foreign = { getTensor(name: string): Uint8Array }
    const { SafeTensor } = require('safetensors') as { SafeTensor: new (bytes: Uint8Array) => Foreign }
    const tensors = {
      a: { dtype: 'F32', shape: [2], bytes: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]) },
      b: { dtype: 'U8', shape: [3], bytes: Uint8Array.from([9, 8, 7]) },
      c: { dtype: 'I64', shape: [], bytes: Uint8Array.from([1, 0, 0, 0, 0, 0, 0, 128]) },
    } as const
    writeSafetensors(at('npm.safetensors'), tensors)
    const foreign = new SafeTensor(new Uint8Array(fs.readFileSync(at('npm.safetensors'))))
    for (const [name, { bytes }] of Object.entries(tensors)) expect(foreign.getTensor(name)).toEqual(bytes)
  })

  it('gives equal bytes whatever the order of the metadata', () => {
    const a = { dtype: 'U8', shape: [1], bytes: Uint8Array.of(1) } as const
    writeSafetensors(at('one.safetensors'), { a }, { x: '1', b: '2' })
    writeSafetensors(at('two.safetensors'), { a }, { b: '2', x: '1' })
    expect(fs.readFileSync(at('one.safetensors'))).toEqual(fs.readFileSync(at('two.safetensors')))
  })

  it('with bytes that do not fit the shape throws ShapeError and leaves nothing', () => {
    for (const bytes of [new Uint8Array(3), new Uint8Array(5)])
      expect(() => writeSafetensors(at('bad.safetensors'), { a: { dtype: 'F32', shape: [1], bytes } })).toThrow(
        ShapeError,
      )
    expect(fs.readdirSync(folder).filter((file) => file.startsWith('bad'))).toEqual([])
  })
})

describe('planSafetensors()', () => {
  it.each([
    [
      'a name given twice',
      [
        { name: 'a', dtype: 'U8', shape: [1] },
        { name: 'a', dtype: 'U8', shape: [1] },
      ],
    ],
    ['__metadata__', [{ name: '__metadata__', dtype: 'U8', shape: [1] }]],
    ['a lone surrogate', [{ name: '\ud800', dtype: 'U8', shape: [1] }]],
    ['a fractional dimension', [{ name: 'a', dtype: 'U8', shape: [1.5] }]],
    ['a negative dimension', [{ name: 'a', dtype: 'U8', shape: [-1] }]],
    ['2^53 elements of 8 bytes', [{ name: 'a', dtype: 'F64', shape: [2 ** 26, 2 ** 27] }]],
  ] as const)('refuses %s', (_, entries) => {
    expect(() => planSafetensors(entries)).toThrow(RangeError)
  })
})

describe('createSafetensorsWriter()', () => {
  const entries = [
    { name: 'mask', dtype: 'U8', shape: [3] },
    { name: 'big', dtype: 'F16', shape: [1024, 512] },
  ] as const

  it('streams: every piece is on its place in the file before the next one comes', () => {
    const chunk = 1 << 14
    const writes = vi.spyOn(fs, 'writeSync')
    const writer = createSafetensorsWriter(at('stream.safetensors'), entries)
    const bytes = new Uint8Array(chunk)
    const onDisk = new Uint8Array(chunk)
    const fd = fs.openSync(at('stream.safetensors.partial'), 'r')
    for (let done = 0; done < 1024 * 512 * 2; done += chunk) {
      bytes.fill(done / chunk)
      writer.write('big', bytes)
      fs.readSync(fd, onDisk, 0, chunk, writer.offsetOf('big') + done)
      expect(Buffer.compare(onDisk, bytes)).toBe(0)
    }
    fs.closeSync(fd)
    expect(Math.max(...writes.mock.calls.map((call) => call[3] as unknown as number))).toBe(chunk)
    expect(fs.existsSync(at('stream.safetensors'))).toBe(false)
    writer.write('mask', Uint8Array.of(1, 2, 3))
    writer.finish()
    expect(fs.existsSync(at('stream.safetensors.partial'))).toBe(false)
    const file = openSafetensors(at('stream.safetensors'))
    expect(file.get('big').offset).toBe(writer.offsetOf('big'))
    expect(file.readBytes('big').every((byte, i) => byte === Math.floor(i / chunk))).toBe(true)
    file.close()
  })

  it('finish() refuses a tensor that lacks bytes, write() one that has too many or was not announced', () => {
    const writer = createSafetensorsWriter(at('short.safetensors'), entries)
    writer.write('mask', new Uint8Array(2))
    expect(() => writer.finish()).toThrow('tensor "big" got 0 of 1048576 bytes')
    expect(() => writer.write('mask', new Uint8Array(2))).toThrow('got 4 bytes, U8 [3] takes 3')
    expect(() => writer.write('other', new Uint8Array(2))).toThrow('it was not announced')
    writer.abort()
    expect(fs.readdirSync(folder).filter((file) => file.startsWith('short'))).toEqual([])
  })

  it('a disk that fills up half-way leaves no finished file', () => {
    const writer = createSafetensorsWriter(at('full.safetensors'), entries)
    vi.spyOn(fs, 'writeSync').mockImplementation(() => {
      throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
    })
    expect(() => writer.write('mask', new Uint8Array(3))).toThrow(ResourceError)
    writer.abort()
    expect(fs.readdirSync(folder).filter((file) => file.startsWith('full'))).toEqual([])
  })
})
