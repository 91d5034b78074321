import { existsSync, statfsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { ResourceError } from '../errors.ts'

/** Free bytes of the disk that `path` is or will be on. */
export function freeBytes(path: string): number {
  let at = resolve(path)
  while (!existsSync(at)) at = dirname(at)
  const { bavail, bsize } = statfsSync(at)
  return bavail * bsize
}

/** Throws ResourceError when `path` has less room than `bytes`. */
export function assertRoom(path: string, bytes: number): void {
  const free = freeBytes(path)
  if (free < bytes)
    throw new ResourceError(
      `Not enough disk space for ${path}: the run needs about ${bytes} bytes, ${free} are free: free some or choose another --out`,
    )
}
