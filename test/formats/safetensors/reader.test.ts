import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FormatError, UnsupportedError } from '../../../src/errors.ts'
import { openSafetensors, readSafetensors } from '../../../src/formats/safetensors/reader.ts'
import { writeSafetensors } from '../../../src/formats/safetensors/writer.ts'
import { recordReads } from '../reads.ts'
import { temporaryFolder } from '../temp.ts'

const folder = temporaryFolder()
const malformed = 'test/golden/malformed'
type Expectation = { reason: string; valid: boolean }
const expectations = Object.entries(
  JSON.parse(fs.readFileSync(path.join(malformed, 'expect.json'), 'utf8')) as Record<string, Expectation>,
).filter(([file]) => file.endsWith('.safetensors'))

/** A file of a hand-written header and `dataBytes` zeros. */
function craft(name: string, header: string, dataBytes: number): string {
  const json = new TextEncoder().encode(header)
  const bytes = new Uint8Array(8 + json.length + dataBytes)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  fs.writeFileSync(path.join(folder, name), bytes)
  return path.join(folder, name)
}

afterEach(() => vi.restoreAllMocks())

describe('openSafetensors()', () => {
  it('has a golden for each kind of bad and odd file', () => {
    expect(expectations.filter(([, { valid }]) => !valid)).toHaveLength(37)
    expect(expectations.filter(([, { valid }]) => valid)).toHaveLength(7)
  })

  it.each(expectations.filter(([, { valid }]) => !valid))('refuses %s', (file) => {
    const name = path.join(malformed, file)
    let error: unknown
    try {
      openSafetensors(name).close()
    } catch (caught) {
      error = caught
    }
    expect(error).toBeInstanceOf(FormatError)
    const { message } = error as FormatError
    expect(message).toMatch(new RegExp(`^Cannot read ${name.replaceAll('.', '\\.')}: `))
    expect(message).not.toContain('\n')
  })

  it.each(expectations.filter(([, { valid }]) => valid))('reads %s, every byte', (file) => {
    const name = path.join(malformed, file)
    const { tensors } = readSafetensors(name)
    const dataBytes = [...tensors.values()].reduce((n, { bytes }) => n + bytes.byteLength, 0)
    const raw = fs.readFileSync(name)
    expect(dataBytes).toBe(raw.byteLength - 8 - Number(raw.readBigUInt64LE(0)))
  })

  it('gives odd tensors their own aligned buffer, and odd names their tensors', () => {
    expect([...readSafetensors(`${malformed}/ok-proto-name.safetensors`).tensors.keys()].sort()).toEqual([
      '__proto__',
      'constructor',
    ])
    expect([...readSafetensors(`${malformed}/ok-unicode-name.safetensors`).tensors.keys()]).toEqual(['λ 😀'])
    const odd = openSafetensors(`${malformed}/ok-odd-alignment.safetensors`)
    const info = [...odd.tensors.values()].find(({ dtype }) => dtype === 'F32')!
    expect(info.offset % 4).not.toBe(0)
    const bytes = odd.readBytes(info.name)
    expect([bytes.byteOffset, bytes.buffer.byteLength]).toEqual([0, info.byteLength])
    expect(odd.readF32(info.name)).toEqual(new Float32Array(bytes.buffer))
    odd.close()
  })

  it.each([
    ['offset-gap', 'leave a gap'],
    ['size-too-small', 'data_offsets span 16 bytes, F32 [2, 3] needs 24'],
    ['duplicate-same-range', 'key "a" appears twice'],
    ['shape-overflow-bytes', 'shape[0] is 4611686018427387904, expected 0 to 2^53 - 1'],
    ['dtype-unknown', 'dtype is "F128", expected one of F64, F32'],
    ['header-over-100mb', 'the header length is 100000001, at most 100000000 are allowed'],
    ['metadata-number', 'is the number 3, expected a string'],
    ['data-one-byte-short', 'the file is cut short'],
  ])('says of %s what is wrong', (file, part) => {
    expect(() => openSafetensors(`${malformed}/${file}.safetensors`)).toThrow(part)
  })

  it('refuses a header length above the limit without reading or holding that much', () => {
    const name = path.join(folder, 'sparse.safetensors')
    fs.writeFileSync(name, Uint8Array.of(0, 0, 0, 0x40, 0, 0, 0, 0))
    fs.truncateSync(name, 2 ** 31)
    const reads = recordReads()
    expect(() => openSafetensors(name)).toThrow('the header length is 1073741824')
    expect(reads.map(({ byteLength }) => byteLength)).toEqual([8])
    fs.rmSync(name)
  })

  it.each([
    '{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}',
    '{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}',
  ])('refuses %s as the Rust reference does: sizes are written as integers', (header) => {
    expect(() => openSafetensors(craft('float.safetensors', header, 1))).toThrow('shape[0] is the number 1')
  })

  it('opens a file with types it cannot read, and throws UnsupportedError when one is asked for', () => {
    const header =
      '{"f8":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[4,8]},"f4":{"dtype":"F4","shape":[3,2],"data_offsets":[8,11]},' +
      '"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    const file = openSafetensors(craft('foreign.safetensors', header, 11))
    expect([...file.tensors.keys()]).toEqual(['w'])
    expect(file.foreign.get('f4')).toEqual({ name: 'f4', dtype: 'F4', shape: [3, 2], byteLength: 3 })
    for (const read of [file.get, file.readBytes, file.readF32]) expect(() => read('f8')).toThrow(UnsupportedError)
    expect(file.readF32('w')).toEqual(new Float32Array(1))
    file.close()
    const odd = craft('odd.safetensors', '{"f4":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}', 1)
    expect(() => openSafetensors(odd)).toThrow('needs 1 and 4/8')
  })

  it('refuses every truncation of a valid file', () => {
    const whole = path.join(folder, 'whole.safetensors')
    const tensor = { dtype: 'F16', shape: [3], bytes: new Uint8Array(6) } as const
    writeSafetensors(whole, { a: tensor, b: tensor }, { format: 'pt' })
    const bytes = fs.readFileSync(whole)
    const cut = path.join(folder, 'cut.safetensors')
    for (let length = 0; length < bytes.length; length++) {
      fs.writeFileSync(cut, bytes.subarray(0, length))
      expect(() => openSafetensors(cut), `${length} of ${bytes.length} bytes`).toThrow(FormatError)
    }
    expect(openSafetensors(whole).tensors.size).toBe(2)
  })
})

describe('TensorFile', () => {
  const name = path.join(folder, 'types.safetensors')
  const f64 = Float64Array.of(0.1, -2, 1e300)
  writeSafetensors(name, {
    f64: { dtype: 'F64', shape: [3], bytes: new Uint8Array(f64.buffer) },
    f16: { dtype: 'F16', shape: [2], bytes: new Uint8Array(Uint16Array.of(0x3c00, 0xc000).buffer) },
    bf16: { dtype: 'BF16', shape: [2], bytes: new Uint8Array(Uint16Array.of(0x3f80, 0xc000).buffer) },
    i64: { dtype: 'I64', shape: [1], bytes: new Uint8Array(8) },
  })

  it('readF32() widens the floats and refuses the rest', () => {
    const file = openSafetensors(name)
    expect([...file.readF32('f16')]).toEqual([1, -2])
    expect([...file.readF32('bf16')]).toEqual([1, -2])
    expect(file.readF32('f64')).toEqual(Float32Array.from(f64))
    expect(() => file.readF32('i64')).toThrow(UnsupportedError)
    expect(() => file.readF32('absent')).toThrow('Cannot find tensor "absent"')
    file.close()
  })

  it('readF32() converts a long tensor piece by piece, equal to converting it at once', () => {
    const halves = Uint16Array.from({ length: (1 << 20) + 77 }, (_, i) => Math.imul(i, 40503) & 0x7bff)
    const long = path.join(folder, 'long.safetensors')
    writeSafetensors(long, { a: { dtype: 'BF16', shape: [halves.length], bytes: new Uint8Array(halves.buffer) } })
    const file = openSafetensors(long)
    const reads = recordReads()
    const got = new Uint32Array(file.readF32('a').buffer)
    expect(Math.max(...reads.map(({ byteLength }) => byteLength))).toBe(1 << 20)
    expect(got.every((bits, i) => bits === halves[i]! << 16)).toBe(true)
    file.close()
  })

  it('readBytes() reads the range it is asked for and no more', () => {
    const file = openSafetensors(name)
    const reads = recordReads()
    expect(file.readBytes('f64', 8, 16)).toEqual(new Uint8Array(f64.buffer, 8, 8))
    expect(reads).toEqual([{ byteLength: 8, position: file.get('f64').offset + 8 }])
    expect(() => file.readBytes('f64', 8, 25)).toThrow(RangeError)
    expect(() => file.readBytes('f64', -1)).toThrow(RangeError)
    file.close()
  })

  it('throws once it is closed, instead of reading some other file', () => {
    const file = openSafetensors(name)
    file.close()
    file.close()
    expect(() => file.readBytes('f64')).toThrow('it was closed')
    expect(() => file.readF32('f64')).toThrow('it was closed')
  })
})
