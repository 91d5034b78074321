import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { ResourceError } from '../errors.ts'

// A folder is replaced beside its name: FOLDER.spexpand-part is being filled, FOLDER.spexpand-new is whole and replaces
// FOLDER, FOLDER.spexpand-old is what it replaced. No reader ever sees files of both under one name.
const PART = '.spexpand-part'
const NEW = '.spexpand-new'
const OLD = '.spexpand-old'

/** An empty folder beside `folder`, to be filled for replaceFolder(). What an interrupted run left there is removed. */
export function stageFolder(folder: string): string {
  for (const end of [PART, NEW, OLD]) rmSync(folder + end, { recursive: true, force: true })
  const staged = folder + PART
  attempt(folder, () => mkdirSync(staged))
  return staged
}

/**
 * Gives `staged`, as stageFolder() made it, the name of `folder`, and removes what had it. Files in it have to be on the
 * device already. A crash leaves the old folder, or the new one under a name from which settleFolder() takes it. Throws
 * ResourceError, with the old folder in place, when the system refuses (a mounted folder cannot be renamed).
 */
export function replaceFolder(folder: string, staged: string): void {
  syncFolder(staged)
  attempt(folder, () => renameSync(staged, folder + NEW))
  syncFolder(dirname(folder))
  try {
    attempt(folder, () => renameSync(folder, folder + OLD))
  } catch (error) {
    rmSync(folder + NEW, { recursive: true, force: true })
    throw error
  }
  settleFolder(folder)
  syncFolder(dirname(folder))
  rmSync(folder + OLD, { recursive: true, force: true })
}

/** Finishes a replacement that was cut off between its two renames. Does nothing where `folder` is there. */
export function settleFolder(folder: string): void {
  if (existsSync(folder) || !existsSync(folder + NEW)) return
  attempt(folder, () => {
    try {
      renameSync(folder + NEW, folder)
    } catch (error) {
      // Another process may have settled it meanwhile.
      if (!existsSync(folder)) throw error
    }
  })
}

/** Names of files are on the device only when their folder is. */
function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function attempt(folder: string, operation: () => unknown): void {
  try {
    operation()
  } catch (cause) {
    throw new ResourceError(
      `Cannot replace ${folder}: ${(cause as Error).message}: ${basename(folder)} and the folder it lies in must be writable, ` +
        'and it must be no mount point',
      { cause },
    )
  }
}
