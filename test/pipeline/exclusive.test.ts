import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { ResourceError } from '../../src/errors.ts'
import { exclusively } from '../../src/pipeline/exclusive.ts'

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })))

function lockPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'spexpand-exclusive-'))
  folders.push(folder)
  return join(folder, 'deep', 'lock')
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe('exclusively()', () => {
  it('runs one body after the other, passes on what they give and throw, and leaves nothing behind', async () => {
    const path = lockPath()
    let running = 0
    let most = 0
    const body = (i: number) => async (): Promise<number> => {
      most = Math.max(most, ++running)
      await pause(5)
      running--
      if (i === 1) throw new RangeError('one')
      return i
    }
    const waits: string[] = []
    const onWait = (reason: string): void => void waits.push(reason)
    const results = await Promise.allSettled([0, 1, 2].map((i) => exclusively(path, body(i), { onWait })))
    expect(results).toMatchObject([{ value: 0 }, { reason: { message: 'one' } }, { value: 2 }])
    expect(most).toBe(1)
    expect(waits.length).toBe(2)
    expect(waits[0]).toContain(path)
    expect(readdirSync(join(path, '..'))).toEqual([])
  })

  it('waits for another process as long as it lives', async () => {
    const path = lockPath()
    mkdirSync(join(path, '..'))
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    const ended = new Promise((resolve) => other.once('exit', resolve))
    writeFileSync(path, JSON.stringify({ pid: other.pid, start: '', host: hostname() }))
    let isDone = false
    const waiting = exclusively(path, () => Promise.resolve((isDone = true)))
    await pause(150)
    expect(isDone).toBe(false)
    other.kill()
    await ended
    expect(await waiting).toBe(true)
  })

  it('stops waiting when it is told to, and says when there is no place for a lock', async () => {
    const path = lockPath()
    const controller = new AbortController()
    const { signal } = controller
    const refused = exclusively(path, async () => {
      const inner = exclusively(path, () => Promise.resolve(), { signal })
      controller.abort(new RangeError('enough'))
      await inner
    })
    await expect(refused).rejects.toThrow('enough')
    writeFileSync(join(path, '..', 'file'), '')
    const nowhere = exclusively(join(path, '..', 'file', 'lock'), () => Promise.resolve())
    await expect(nowhere).rejects.toThrow(ResourceError)
  })
})
