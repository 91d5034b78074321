import fs from 'node:fs'
import path from 'node:path'
import { FormatError } from '../errors.ts'

/**
 * The folders of one repository in the cache, in the layout of Python's huggingface_hub: `blobs/ETAG` holds a file,
 * `snapshots/COMMIT/NAME` is a link to it, `refs/REVISION` the commit of a branch or tag.
 */
export type RepositoryCache = {
  blob(etag: string): string
  /** What is locked while a blob is downloaded. Python's huggingface_hub locks other files, in a way that Node cannot. */
  lock(etag: string): string
  snapshot(commit: string): string
  /** The commit that a revision had when it was last asked for, or the revision itself if it is a commit. */
  commitOf(revision: string): string | undefined
  remember(revision: string, commit: string): void
  /** Makes `snapshots/COMMIT/NAME` point to the blob. */
  link(commit: string, name: string, etag: string): void
}

const COMMIT = /^[0-9a-f]{40}$/

export function isCommit(revision: string): boolean {
  return COMMIT.test(revision)
}

/** The cache of 'owner/name'; nothing is made before it is needed. */
export function repositoryCache(cacheFolder: string, repository: string): RepositoryCache {
  const folder = path.join(cacheFolder, `models--${repository.replaceAll('/', '--')}`)
  const refOf = (revision: string): string => path.join(folder, 'refs', ...revision.split('/'))
  const snapshot = (commit: string): string => path.join(folder, 'snapshots', commit)
  const blob = (etag: string): string => path.join(folder, 'blobs', etag)
  const name = path.basename(folder)
  return {
    blob,
    lock: (etag) => path.join(cacheFolder, '.locks', name, `${etag}.spexpand`),
    snapshot,
    commitOf(revision) {
      if (isCommit(revision)) return revision
      if (!isPlainPath(revision) || !fs.existsSync(refOf(revision))) return undefined
      const commit = fs.readFileSync(refOf(revision), 'utf8').trim()
      return isCommit(commit) ? commit : undefined
    },
    remember(revision, commit) {
      if (isCommit(revision) || !isPlainPath(revision)) return
      fs.mkdirSync(path.dirname(refOf(revision)), { recursive: true })
      const fresh = `${refOf(revision)}.${process.pid}.fresh`
      fs.writeFileSync(fresh, commit)
      fs.renameSync(fresh, refOf(revision))
    },
    link(commit, name, etag) {
      const place = path.join(snapshot(commit), ...name.split('/'))
      fs.mkdirSync(path.dirname(place), { recursive: true })
      const target = path.relative(path.dirname(place), blob(etag))
      // A new name that is moved over the old one: another process may be reading through it.
      const fresh = `${place}.${process.pid}.link`
      fs.rmSync(fresh, { force: true })
      try {
        fs.symlinkSync(target, fresh)
      } catch (cause) {
        // Windows lets few users make links; huggingface_hub copies there too.
        if (!isForbidden(cause)) throw cause
        fs.copyFileSync(blob(etag), fresh)
      }
      fs.renameSync(fresh, place)
    },
  }
}

/** Whether a name from a server or a user stays inside the folder it is joined to. */
export function isPlainPath(name: string): boolean {
  return (
    name !== '' &&
    !name.split('/').some((part) => part === '' || part === '.' || part === '..') &&
    !/[\\:\0]/.test(name)
  )
}

/** A file of a snapshot, or undefined where it (or what its link points to) is missing. */
export function fileIn(snapshotFolder: string, name: string): string | undefined {
  if (!isPlainPath(name)) throw new FormatError(`Cannot use "${name}" of ${snapshotFolder}: it leads out of the folder`)
  const file = path.join(snapshotFolder, ...name.split('/'))
  return fs.existsSync(file) ? file : undefined
}

function isForbidden(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'EPERM' || cause.code === 'ENOSYS')
}
