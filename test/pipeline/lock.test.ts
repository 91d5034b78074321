import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { ResourceError, UsageError } from '../../src/errors.ts'
import { acquireLock } from '../../src/pipeline/lock.ts'

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })))

function lockPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'spexpand-lock-'))
  folders.push(folder)
  return join(folder, 'lock')
}

const left = (path: string): string[] => readdirSync(join(path, '..'))

it('acquireLock() keeps others out until it is released, and leaves nothing behind', () => {
  const path = lockPath()
  const lock = acquireLock(path, 'out')
  expect(() => acquireLock(path, 'out')).toThrow(new RegExp(`process ${process.pid} is writing there`))
  expect(() => acquireLock(path, 'out')).toThrow(UsageError)
  expect(left(path)).toEqual(['lock'])
  lock.release()
  lock.release()
  expect(left(path)).toEqual([])
  acquireLock(path, 'out').release()
})

it('acquireLock() takes over the lock of a process that ended', () => {
  const path = lockPath()
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  writeFileSync(path, JSON.stringify({ pid, start: '', host: hostname() }))
  acquireLock(path, 'out').release()
  expect(left(path)).toEqual([])
})

it.skipIf(!existsSync('/proc/self/stat'))(
  'acquireLock() takes over the lock of a process whose number another one has now',
  () => {
    const path = lockPath()
    writeFileSync(path, JSON.stringify({ pid: process.pid, start: 'another boot 1', host: hostname() }))
    acquireLock(path, 'out').release()
  },
)

it.each(['', '{', '[]', '{"pid":"1"}', '{"pid":-1,"start":"","host":""}'])(
  'acquireLock() takes over the damaged lock %j',
  (text) => {
    const path = lockPath()
    writeFileSync(path, text)
    acquireLock(path, 'out').release()
  },
)

it('acquireLock() believes a lock of another machine', () => {
  const path = lockPath()
  writeFileSync(path, JSON.stringify({ pid: 1, start: '', host: 'elsewhere' }))
  expect(() => acquireLock(path, 'out')).toThrow(/process 1 on elsewhere/)
})

it('release() leaves the lock of somebody else alone', () => {
  const path = lockPath()
  const lock = acquireLock(path, 'out')
  writeFileSync(path, JSON.stringify({ pid: 1, start: '', host: 'elsewhere' }))
  lock.release()
  expect(left(path)).toEqual(['lock'])
})

it('acquireLock() says when a folder cannot be written', () => {
  expect(() => acquireLock('/proc/lock', 'out')).toThrow(ResourceError)
})
