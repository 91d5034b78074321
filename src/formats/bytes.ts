import fs from 'node:fs'
import { FormatError, ResourceError } from '../errors.ts'

/** Largest piece handed to one read or write call: Node refuses 2 GiB and more. */
const MAX_CALL_BYTES = 1 << 30

/** A file open for reading: descriptor, and its length when it was opened. */
export type OpenFile = { readonly path: string; readonly fd: number; readonly byteLength: number }

/** Opens a regular file for reading. Throws FormatError when it is missing, a folder, or may not be read. */
export function openForReading(path: string): OpenFile {
  let fd: number
  try {
    fd = fs.openSync(path, 'r')
  } catch (cause) {
    throw fileError('open', path, cause)
  }
  const stat = fs.fstatSync(fd)
  if (!stat.isFile()) {
    fs.closeSync(fd)
    throw new FormatError(`Cannot open ${path}: it is ${stat.isDirectory() ? 'a folder' : 'no regular file'}`)
  }
  return { path, fd, byteLength: stat.size }
}

export function closeFile(file: OpenFile): void {
  fs.closeSync(file.fd)
}

/**
 * Fills `out` from byte `position` of the file. Throws FormatError when the file ends earlier (it shrank since it was
 * opened), ResourceError on a device error.
 */
export function readInto(file: OpenFile, position: number, out: Uint8Array): void {
  let done = 0
  while (done < out.byteLength) {
    const want = Math.min(out.byteLength - done, MAX_CALL_BYTES)
    let got: number
    try {
      got = fs.readSync(file.fd, out, done, want, position + done)
    } catch (cause) {
      throw fileError('read', file.path, cause)
    }
    if (got === 0)
      throw new FormatError(
        `Cannot read ${file.path}: it ends at byte ${position + done}, expected ${position + out.byteLength} or more`,
      )
    done += got
  }
}

/** Bytes [position, position + byteLength) of the file in a fresh buffer of their own, so that any typed array fits. */
export function readRange(file: OpenFile, position: number, byteLength: number): Uint8Array<ArrayBuffer> {
  const out = allocate(byteLength, file.path)
  readInto(file, position, out)
  return out
}

/** `byteLength` zero bytes. Throws ResourceError, naming what they are for, when the process cannot have them. */
export function allocate(byteLength: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(byteLength)
  } catch (cause) {
    throw new ResourceError(`Cannot hold ${byteLength} bytes of ${what} in memory: read it in pieces`, { cause })
  }
}

/**
 * Writes all of `bytes` at byte `position`, however short the single writes are. Throws ResourceError when there is no
 * space left.
 */
export function writeAll(fd: number, path: string, bytes: Uint8Array, position: number): void {
  let done = 0
  while (done < bytes.byteLength) {
    try {
      done += fs.writeSync(fd, bytes, done, Math.min(bytes.byteLength - done, MAX_CALL_BYTES), position + done)
    } catch (cause) {
      throw fileError('write', path, cause, bytes.byteLength - done)
    }
  }
}

/** A file being written beside its final name: it takes that name only when it is whole. */
export type PartialFile = {
  /** Where the bytes are until then: the final path with `.partial` added. */
  readonly partialPath: string
  write(bytes: Uint8Array, position: number): void
  /** Forces the bytes to the device, then gives the file its name, replacing an older one. */
  finish(): void
  /** Removes what was written; does nothing after finish(). */
  abort(): void
}

/** Starts (or starts anew) `${path}.partial`. Throws FormatError when the folder is missing or may not be written. */
export function createPartialFile(path: string): PartialFile {
  const partialPath = `${path}.partial`
  const fd = attempt('create', partialPath, () => fs.openSync(partialPath, 'w'))
  let state: 'open' | 'closed' | 'done' = 'open'
  const close = (): void => {
    state = 'closed'
    attempt('write', partialPath, () => fs.closeSync(fd))
  }
  const assertOpen = (action: string): void => {
    if (state !== 'open') throw new Error(`Cannot ${action} ${path}: it was finished or given up before`)
  }
  return {
    partialPath,
    write(bytes, position) {
      assertOpen('write')
      writeAll(fd, partialPath, bytes, position)
    },
    finish() {
      assertOpen('finish')
      // Some file systems report a full disk only here.
      attempt('write', partialPath, () => fs.fsyncSync(fd))
      close()
      attempt('rename', partialPath, () => fs.renameSync(partialPath, path))
      state = 'done'
    },
    abort() {
      if (state === 'open') close()
      if (state === 'closed') fs.rmSync(partialPath, { force: true })
      state = 'done'
    },
  }
}

/** Writes a whole small file through a partial one: a reader sees the old bytes or the new ones, never a part. */
export function writeFileWhole(path: string, content: Uint8Array | string): void {
  const file = createPartialFile(path)
  try {
    file.write(typeof content === 'string' ? new TextEncoder().encode(content) : content, 0)
    file.finish()
  } catch (error) {
    file.abort()
    throw error
  }
}

/** Runs one file operation and reports its failure as fileError does. */
function attempt<T>(action: string, path: string, operation: () => T): T {
  try {
    return operation()
  } catch (cause) {
    throw fileError(action, path, cause)
  }
}

/** The error of a failed file operation: ResourceError where the machine is short of something, else FormatError. */
function fileError(action: string, path: string, cause: unknown, missingBytes?: number): Error {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const left = missingBytes === undefined ? '' : `, ${missingBytes} bytes were still to be written`
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new ResourceError(`No space left to ${action} ${path}${left}: free some disk or choose another folder`, {
        cause,
      })
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
    case 'EIO':
      return new ResourceError(`Cannot ${action} ${path}: the system answers ${code}${left}`, { cause })
    case 'ENOENT':
      return new FormatError(`Cannot ${action} ${path}: no such file or folder`, { cause })
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new FormatError(`Cannot ${action} ${path}: permission denied (${code})`, { cause })
    default:
      return new FormatError(`Cannot ${action} ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      })
  }
}
