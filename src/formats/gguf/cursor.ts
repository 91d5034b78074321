import { FormatError } from '../../errors.ts'
import type { OpenFile } from '../bytes.ts'
import { readInto } from '../bytes.ts'

/** Bytes fetched at a time. */
const WINDOW_BYTES = 1 << 20
/** Chat templates and licences have kilobytes. */
const MAX_STRING_BYTES = 16_000_000
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads the little-endian fields of a header one after another, through a window of 1 MiB. Every length is compared with
 * the bytes that are left before anything is allocated. Throws FormatError naming path and position.
 */
export class Cursor {
  at = 0
  private readonly file: OpenFile
  private window = new Uint8Array(0)
  private view = new DataView(this.window.buffer)
  private windowStart = 0

  constructor(file: OpenFile) {
    this.file = file
  }

  // take() may replace the view: it comes first.
  u8(): number {
    const at = this.take(1)
    return this.view.getUint8(at)
  }

  i8(): number {
    const at = this.take(1)
    return this.view.getInt8(at)
  }

  u16(): number {
    const at = this.take(2)
    return this.view.getUint16(at, true)
  }

  i16(): number {
    const at = this.take(2)
    return this.view.getInt16(at, true)
  }

  u32(): number {
    const at = this.take(4)
    return this.view.getUint32(at, true)
  }

  i32(): number {
    const at = this.take(4)
    return this.view.getInt32(at, true)
  }

  f32(): number {
    const at = this.take(4)
    return this.view.getFloat32(at, true)
  }

  f64(): number {
    const at = this.take(8)
    return this.view.getFloat64(at, true)
  }

  u64(): bigint {
    const at = this.take(8)
    return this.view.getBigUint64(at, true)
  }

  i64(): bigint {
    const at = this.take(8)
    return this.view.getBigInt64(at, true)
  }

  /** A u64 that counts or measures something: at most `max`, which the message calls `what`. */
  size(what: string, max: number): number {
    const start = this.at
    const value = this.u64()
    if (value > BigInt(max))
      throw new FormatError(
        `Cannot read ${this.file.path}: ${what} at byte ${start} is ${value}, expected at most ${max}`,
      )
    return Number(value)
  }

  string(what: string): string {
    const bytes = this.size(`the length of ${what}`, Math.min(MAX_STRING_BYTES, this.file.byteLength))
    const start = this.at
    const offset = this.take(bytes)
    try {
      return UTF8.decode(this.window.subarray(offset, offset + bytes))
    } catch (cause) {
      throw new FormatError(`Cannot read ${this.file.path}: ${what} at byte ${start} is not UTF-8`, { cause })
    }
  }

  /** Throws FormatError unless at least `bytes` more are there. */
  expect(bytes: number, what: string): void {
    if (this.at + bytes > this.file.byteLength)
      throw new FormatError(
        `Cannot read ${this.file.path}: ${what} at byte ${this.at} needs ${bytes} bytes, the file has ` +
          `${this.file.byteLength - this.at} more: it is cut short`,
      )
  }

  /** Makes `bytes` bytes available and steps over them; their offset in the window. */
  private take(bytes: number): number {
    let offset = this.at - this.windowStart
    if (offset + bytes > this.window.byteLength) {
      this.expect(bytes, 'the header')
      const length = Math.min(Math.max(WINDOW_BYTES, bytes), this.file.byteLength - this.at)
      this.window = new Uint8Array(length)
      this.view = new DataView(this.window.buffer)
      readInto(this.file, this.at, this.window)
      this.windowStart = this.at
      offset = 0
    }
    this.at += bytes
    return offset
  }
}
