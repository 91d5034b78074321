import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { FormatError } from '../errors.ts'
import { breathe } from '../formats/breathe.ts'
import { openGguf } from '../formats/gguf/reader.ts'
import { fileSha256 } from '../formats/sha256.ts'
import { GGUF_CONVERSION, convertGguf } from '../model/gguf-convert.ts'
import { elementCount } from '../tensor/dtype.ts'
import { assertRoom } from './disk.ts'
import { exclusively } from './exclusive.ts'
import type { Progress } from './types.ts'

export type GgufFolderOptions = {
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/**
 * The model folder that a GGUF file stands for, converted on first use. Quantised weights take four bytes each there, so
 * folders are kept: in SPEXPAND_CACHE, else XDG_CACHE_HOME/spexpand, else ~/.cache/spexpand, under the SHA-256 of the
 * file. They may be removed at any time. Throws ResourceError when the disk is too small, and what convertGguf throws.
 */
export async function ggufFolder(path: string, { onProgress, signal }: GgufFolderOptions = {}): Promise<string> {
  const tell = (done: number, total: number): void => onProgress?.({ stage: 'convert', done, total })
  tell(0, 1)
  // Opened before it is hashed: most files that are no GGUF files end here.
  const bytes = floatBytes(path)
  const cache = join(cacheFolder(process.env), 'gguf', `${(await fileSha256(path)).slice(0, 32)}-${GGUF_CONVERSION}`)
  const folder = join(cache, basename(path).replace(/\.gguf$/i, ''))
  const isThere = (): boolean => existsSync(join(folder, 'config.json'))
  if (isThere()) return folder
  const onWait = (note: string): void => onProgress?.({ stage: 'convert', done: 0, total: 1, note })
  const convert = async (): Promise<void> => {
    if (isThere()) return
    assertRoom(cache, bytes)
    mkdirSync(cache, { recursive: true })
    removeRemains(cache)
    const partial = `${folder}.partial`
    try {
      await convertGguf(path, partial, async (done, total) => {
        tell(done, total)
        await breathe()
        signal?.throwIfAborted()
      })
      publish(partial, folder)
    } finally {
      rmSync(partial, { recursive: true, force: true })
    }
  }
  await exclusively(`${cache}.lock`, convert, { signal, onWait })
  return folder
}

/** Where converted models are kept. */
export function cacheFolder(environment: Readonly<Record<string, string | undefined>>): string {
  const own = environment['SPEXPAND_CACHE']
  return own || join(environment['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'spexpand')
}

/** Bytes of the weights of a file as they will be written, at most. */
function floatBytes(path: string): number {
  const file = openGguf(path)
  file.close()
  return [...file.tensors.values()].reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0)
}

function publish(partial: string, folder: string): void {
  try {
    renameSync(partial, folder)
  } catch (cause) {
    throw new FormatError(`Cannot write ${folder}: ${(cause as Error).message}`, { cause })
  }
}

/** Removes what conversions left that were killed; one that runs would hold the lock. */
function removeRemains(cache: string): void {
  for (const name of readdirSync(cache))
    if (/\.partial(-\d+)?$/.test(name)) rmSync(join(cache, name), { recursive: true, force: true })
}
