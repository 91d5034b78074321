import fs from 'node:fs'
import { vi } from 'vitest'

export type Read = { readonly byteLength: number; readonly position: number }

/** The file reads from now on, until vi.restoreAllMocks(). */
export function recordReads(): readonly Read[] {
  const reads: Read[] = []
  const readSync = fs.readSync as (...args: unknown[]) => number
  vi.spyOn(fs, 'readSync').mockImplementation(((...args: unknown[]) => {
    reads.push({ byteLength: args[3] as number, position: args[4] as number })
    return readSync(...args)
  }) as typeof fs.readSync)
  return reads
}
