import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { ResourceError, UsageError } from '../errors.ts'
import type { Lock } from './lock.ts'
import { acquireLock } from './lock.ts'

export type WaitOptions = {
  readonly signal?: AbortSignal | undefined
  /** Heard once, when somebody else holds the lock. */
  readonly onWait?: (reason: string) => void
}

const FIRST_WAIT_MS = 20
const LONGEST_WAIT_MS = 500

/**
 * Runs `body` while nobody else, in this process or another, runs one under the lock file `path`; waits until it is free,
 * or its holder has ended. `body` has to look first whether the other one has done its work. Throws what `signal` was
 * aborted with, ResourceError when the lock cannot be written, and what `body` throws.
 */
export async function exclusively<T>(path: string, body: () => Promise<T>, options: WaitOptions = {}): Promise<T> {
  try {
    mkdirSync(dirname(path), { recursive: true })
  } catch (cause) {
    throw new ResourceError(`Cannot lock ${path}: ${(cause as Error).message}: choose another cache folder`, { cause })
  }
  const lock = await freeLock(path, options)
  try {
    return await body()
  } finally {
    lock.release()
  }
}

async function freeLock(path: string, { signal, onWait }: WaitOptions): Promise<Lock> {
  for (let wait = 0; ; wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS + wait * 1.5)) {
    signal?.throwIfAborted()
    const lock = lockUnlessHeld(path)
    if (lock) return lock
    if (wait === 0) onWait?.(`another process is at it: waiting for ${path}`)
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
}

function lockUnlessHeld(path: string): Lock | undefined {
  try {
    return acquireLock(path, path)
  } catch (error) {
    // What acquireLock() throws for a lock that is held; a folder that cannot be written is a ResourceError.
    if (error instanceof UsageError) return undefined
    throw error
  }
}
