import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FormatError, ResourceError } from '../../src/errors.ts'
import { closeFile, createPartialFile, openForReading, readRange, writeFileWhole } from '../../src/formats/bytes.ts'
import { temporaryFolder } from './temp.ts'

const folder = temporaryFolder()
const real = { readSync: fs.readSync, writeSync: fs.writeSync }
const noSpace = (): never => {
  throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
}
afterEach(() => vi.restoreAllMocks())

describe('bytes', () => {
  it('readRange() goes on after short reads, writeAll() after short writes', () => {
    vi.spyOn(fs, 'writeSync').mockImplementation(((fd: number, b: Uint8Array, at: number, n: number, p: number) =>
      real.writeSync(fd, b, at, Math.min(n, 7), p)) as typeof fs.writeSync)
    vi.spyOn(fs, 'readSync').mockImplementation(((fd: number, b: Uint8Array, at: number, n: number, p: number) =>
      real.readSync(fd, b, at, Math.min(n, 5), p)) as typeof fs.readSync)
    const bytes = Uint8Array.from({ length: 100 }, (_, i) => i * 7)
    const name = path.join(folder, 'short')
    writeFileWhole(name, bytes)
    const file = openForReading(name)
    expect(readRange(file, 3, 90)).toEqual(bytes.slice(3, 93))
    expect(vi.mocked(fs.readSync)).toHaveBeenCalledTimes(18)
    closeFile(file)
  })

  it('readRange() past the end throws FormatError naming both lengths', () => {
    const name = path.join(folder, 'ten')
    writeFileWhole(name, '0123456789')
    const file = openForReading(name)
    expect(() => readRange(file, 4, 7)).toThrow(
      new FormatError(`Cannot read ${name}: it ends at byte 10, expected 11 or more`),
    )
    closeFile(file)
  })

  it('openForReading() throws FormatError for a missing file, a folder and a device', () => {
    expect(() => openForReading(path.join(folder, 'absent'))).toThrow(/absent: no such file or folder$/)
    expect(() => openForReading(folder)).toThrow(/it is a folder$/)
    expect(() => openForReading('/dev/null')).toThrow(FormatError)
  })

  it('a full disk is a ResourceError naming path and bytes, and leaves no file of that name', () => {
    const name = path.join(folder, 'full')
    vi.spyOn(fs, 'writeSync').mockImplementation(noSpace)
    expect(() => writeFileWhole(name, '0123456789')).toThrow(ResourceError)
    expect(() => writeFileWhole(name, '0123456789')).toThrow(/^No space left to write .*full\.partial, 10 bytes/)
    expect(fs.readdirSync(folder).filter((file) => file.startsWith('full'))).toEqual([])
  })

  it('a disk found full at fsync gives no finished file either', () => {
    const name = path.join(folder, 'late')
    vi.spyOn(fs, 'fsyncSync').mockImplementation(noSpace)
    expect(() => writeFileWhole(name, 'x')).toThrow(ResourceError)
    expect(fs.readdirSync(folder).filter((file) => file.startsWith('late'))).toEqual([])
  })

  it('createPartialFile() keeps the old file until finish(), then refuses more', () => {
    const name = path.join(folder, 'replaced')
    writeFileWhole(name, 'old')
    const file = createPartialFile(name)
    file.write(new TextEncoder().encode('newer'), 0)
    expect(fs.readFileSync(name, 'utf8')).toBe('old')
    file.finish()
    expect(fs.readFileSync(name, 'utf8')).toBe('newer')
    expect(() => file.write(new Uint8Array(1), 0)).toThrow('finished or given up')
    file.abort()
    expect(fs.readFileSync(name, 'utf8')).toBe('newer')
  })

  it('finish() that cannot rename leaves the partial file for abort() to remove', () => {
    const name = path.join(folder, 'blocked')
    fs.mkdirSync(name)
    fs.writeFileSync(path.join(name, 'inside'), '')
    const file = createPartialFile(name)
    expect(() => file.finish()).toThrow(FormatError)
    file.abort()
    expect(fs.existsSync(`${name}.partial`)).toBe(false)
  })
})
