import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { ResourceError } from '../errors.ts'

/** Where the rows of one matrix (rows, cols) f32 lie; plain data, so that it can be sent to a worker. */
export type RowStoreRef =
  | { readonly kind: 'memory'; readonly rows: number; readonly cols: number; readonly buffer: SharedArrayBuffer }
  | { readonly kind: 'file'; readonly rows: number; readonly cols: number; readonly path: string }

/**
 * The hidden states of all calibration tokens: too large to send around, so every thread opens the same store. In memory
 * as long as the allowance lasts, else in a file (the page cache then decides what stays in memory).
 */
export class RowStore {
  readonly ref: RowStoreRef
  private readonly data: Float32Array | undefined
  private readonly fd: number | undefined

  constructor(ref: RowStoreRef) {
    this.ref = ref
    if (ref.kind === 'memory') this.data = new Float32Array(ref.buffer)
    else this.fd = openSync(ref.path, 'r+')
  }

  /** Creates a store of zeros; `path` chooses the file form. */
  static create(rows: number, cols: number, path?: string): RowStore {
    if (path === undefined)
      return new RowStore({ kind: 'memory', rows, cols, buffer: new SharedArrayBuffer(rows * cols * 4) })
    const fd = openSync(path, 'w')
    ftruncateSync(fd, rows * cols * 4)
    closeSync(fd)
    return new RowStore({ kind: 'file', rows, cols, path })
  }

  /** out = rows start … start + out.length / cols. */
  read(start: number, out: Float32Array): void {
    const at = start * this.ref.cols
    if (this.data) out.set(this.data.subarray(at, at + out.length))
    else transfer(readSync, this.fd!, out, at, this.ref)
  }

  /** rows start … = values. */
  write(start: number, values: Float32Array): void {
    const at = start * this.ref.cols
    if (this.data) this.data.set(values, at)
    else transfer(writeSync, this.fd!, values, at, this.ref)
  }

  /** out[i] = row rows[i]. */
  gather(rows: Uint32Array, out: Float32Array): void {
    const { cols } = this.ref
    for (let i = 0; i < rows.length; i++) this.read(rows[i]!, out.subarray(i * cols, (i + 1) * cols))
  }

  /** row rows[i] += values[i]; the rows are distinct. */
  scatterAdd(rows: Uint32Array, values: Float32Array): void {
    const { cols } = this.ref
    const row = new Float32Array(cols)
    for (let i = 0; i < rows.length; i++) {
      this.read(rows[i]!, row)
      const at = i * cols
      for (let j = 0; j < cols; j++) row[j]! += values[at + j]!
      this.write(rows[i]!, row)
    }
  }

  /** row rows[i] = values[i]. */
  scatter(rows: Uint32Array, values: Float32Array): void {
    const { cols } = this.ref
    for (let i = 0; i < rows.length; i++) this.write(rows[i]!, values.subarray(i * cols, (i + 1) * cols))
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd)
  }
}

type Io = (fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => number

/** Reads or writes all bytes of `values` at element `at`, whatever the system call moves at once. */
function transfer(io: Io, fd: number, values: Float32Array, at: number, ref: RowStoreRef): void {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  for (let done = 0; done < bytes.length;) {
    const moved = step(io, fd, bytes, done, at * 4, ref)
    if (moved === 0) throw new ResourceError(`Cannot read calibration rows: ${nameOf(ref)} ends early`)
    done += moved
  }
}

function step(io: Io, fd: number, bytes: Uint8Array, done: number, base: number, ref: RowStoreRef): number {
  try {
    return io(fd, bytes, done, bytes.length - done, base + done)
  } catch (cause) {
    throw new ResourceError(
      `Cannot spool calibration rows in ${nameOf(ref)}: ${(cause as Error).message}: free disk space or raise --max-memory`,
      { cause },
    )
  }
}

function nameOf(ref: RowStoreRef): string {
  return ref.kind === 'file' ? ref.path : 'memory'
}
