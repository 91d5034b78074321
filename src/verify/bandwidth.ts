import { freemem } from 'node:os'
import { nativeStatus } from '../runtime/native.ts'

/** How fast this machine reads memory, or why nobody knows. */
export type Bandwidth =
  | { readonly bytesPerSecond: number; readonly bufferBytes: number; readonly threads: number }
  | { readonly notMeasured: string }

/** Larger than the last-level cache of most machines; the largest have some hundred MB. */
const BUFFER_BYTES = 2 ** 30
const ROUNDS = 5

/** Reads a buffer of a gigabyte on `threads` threads; the best of some rounds. Needs the native addon. */
export function measureBandwidth(threads: number): Bandwidth {
  const native = nativeStatus()
  if (!native.found) return { notMeasured: `${native.because}: ${native.remedy}` }
  const bufferBytes = Math.min(BUFFER_BYTES, Math.floor(freemem() / 4))
  return { bytesPerSecond: native.addon.readBandwidth(bufferBytes, threads, ROUNDS), bufferBytes, threads }
}
