import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { ResourceError, UsageError } from '../errors.ts'

/**
 * Who holds a lock. A process number alone may belong to another program after a restart, so its start counts too; and on
 * another machine that shares the folder it says nothing.
 */
type Holder = { readonly pid: number; readonly start: string; readonly host: string }

/** Keeps other processes out of a folder until it is released. */
export type Lock = { release(): void }

/**
 * Takes the lock file `path`, in a folder that is there. A lock whose process has ended is taken over: it left without
 * releasing it. `what` is what it protects, for the message.
 * Throws UsageError naming the process that holds it, ResourceError when the folder cannot be written.
 */
export function acquireLock(path: string, what: string): Lock {
  const mine: Holder = { pid: process.pid, start: startOf(process.pid) ?? '', host: hostname() }
  const own = `${path}.${mine.pid}`
  try {
    // A link appears with its content and only where nothing is: never a lock without a holder, never two holders.
    writeFileSync(own, `${JSON.stringify(mine)}\n`)
    while (!linked(own, path)) setAside(path, own, what)
  } catch (cause) {
    if (cause instanceof UsageError) throw cause
    throw new ResourceError(`Cannot lock ${what}: ${(cause as Error).message}`, { cause })
  } finally {
    rmSync(own, { force: true })
  }
  let isHeld = true
  return {
    release() {
      if (isHeld && isSame(read(path), mine)) rmSync(path, { force: true })
      isHeld = false
    },
  }
}

function linked(own: string, path: string): boolean {
  try {
    linkSync(own, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/**
 * Removes a lock that nobody holds any more. It is renamed first and looked at again: between a look and a removal another
 * process may have taken it.
 */
function setAside(path: string, own: string, what: string): void {
  assertAbandoned(read(path), what)
  const aside = `${own}.stale`
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  const holder = read(aside)
  if (holder && isAlive(holder)) {
    linked(aside, path)
    rmSync(aside, { force: true })
    assertAbandoned(holder, what)
  }
  rmSync(aside, { force: true })
}

function assertAbandoned(holder: Holder | undefined, what: string): void {
  if (!holder || !isAlive(holder)) return
  const elsewhere = holder.host === hostname() ? '' : ` on ${holder.host} (if it has ended, remove the lock there)`
  throw new UsageError(
    `Cannot write to ${what}: process ${holder.pid}${elsewhere} is writing there: wait for it, stop it, or choose another --out`,
  )
}

/** undefined for a lock that is gone, or that is none of ours (a crash of the system may leave an empty file). */
function read(path: string): Holder | undefined {
  try {
    const { pid, start, host } = JSON.parse(readFileSync(path, 'utf8')) as Partial<Holder>
    const isSound = Number.isSafeInteger(pid) && pid! > 0 && typeof start === 'string' && typeof host === 'string'
    return isSound ? { pid: pid!, start: start!, host: host! } : undefined
  } catch {
    return undefined
  }
}

function isSame(a: Holder | undefined, b: Holder): boolean {
  return a?.pid === b.pid && a.start === b.start && a.host === b.host
}

/** Whether it still runs, as far as can be told: a process of another machine counts as running. */
function isAlive({ pid, start, host }: Holder): boolean {
  if (host !== hostname()) return true
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it is there and belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  const now = startOf(pid)
  return now === undefined || start === '' || now === start
}

/** When a process started: unique together with its number. undefined where the system does not say (no /proc). */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // Fields are counted from behind the name, which may hold spaces and brackets: field 22 is the start in ticks since boot.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${ticks}`
  } catch {
    return undefined
  }
}
