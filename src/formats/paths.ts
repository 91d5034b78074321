import { existsSync, realpathSync } from 'node:fs'
import { join, sep } from 'node:path'
import { FormatError } from '../errors.ts'

/**
 * Whether `name`, found inside a file, stays in the folder of that file on every system: relative, with '/', without
 * '..', drive letter or NUL. A symbolic link may still lead out: fileInFolder() looks where it goes.
 */
export function isInsideFolder(name: string): boolean {
  return name !== '' && !name.split('/').some((part) => part === '' || part === '..') && !/[\\:\0]/.test(name)
}

/** In a snapshot of the cache of huggingface_hub, whose files are links to the blobs beside it. */
const SNAPSHOT = /^(.*[\\/]models--[^\\/]+)[\\/]snapshots[\\/][0-9a-f]{40}(?:[\\/]|$)/

/**
 * The path of a file of a model or artifact, or undefined where there is none. A folder may come from anywhere, and what is
 * read from it may be copied into artifacts and messages: a link in it must not bring files of this machine there. Throws
 * FormatError for a link that leads out of the folder, unless it is one of the hub's cache, to a blob of the same model.
 */
export function fileInFolder(folder: string, name: string): string | undefined {
  const path = join(folder, name)
  if (!existsSync(path)) return undefined
  const real = realpathSync(path)
  const root = realpathSync(folder)
  const repository = SNAPSHOT.exec(root)?.[1]
  const allowed = [root, ...(repository === undefined ? [] : [join(repository, 'blobs')])]
  if (!allowed.some((place) => real.startsWith(place.endsWith(sep) ? place : place + sep)))
    throw new FormatError(
      `Cannot use ${path}: it is a link that leads out of its folder, to ${real}: put the file itself there (cp -L)`,
    )
  return path
}
