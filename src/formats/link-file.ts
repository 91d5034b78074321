import fs from 'node:fs'
import { ResourceError } from '../errors.ts'

/** How a file came into another folder. */
export type Shared = 'linked' | 'copied'

/**
 * Puts a file under a second name that must be free: as a hard link, which takes no space, else (another disk, or a file
 * system without links) as a copy, which gets its name only when it is whole. Links of a link are to what it names.
 * Throws ResourceError when the system refuses both.
 */
export function linkOrCopy(from: string, to: string): Shared {
  const source = fs.realpathSync(from)
  try {
    fs.linkSync(source, to)
    return 'linked'
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw refused(from, to, error)
  }
  const partial = `${to}.partial`
  try {
    fs.copyFileSync(source, partial, fs.constants.COPYFILE_FICLONE)
    fs.renameSync(partial, to)
    return 'copied'
  } catch (error) {
    fs.rmSync(partial, { force: true })
    throw refused(from, to, error)
  }
}

function refused(from: string, to: string, cause: unknown): ResourceError {
  const remedy = 'free some disk, or choose another folder'
  return new ResourceError(`Cannot copy ${from} to ${to}: ${(cause as Error).message}: ${remedy}`, { cause })
}
