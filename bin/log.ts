import { closeSync, openSync, writeSync } from 'node:fs'
import type { Progress } from '../src/index.ts'

/** Memory of the process as `process.memoryUsage()` gives it, bytes. */
export type MemoryReading = { readonly rss: number; readonly heapUsed: number; readonly external: number }

/** The log of one run (--log-file): one JSON object a line, written at once, so that a killed run leaves all of them. */
export type RunLog = {
  /** Begins to write; until then, and after close(), events go nowhere. Lines are added to a file that is there. */
  open(path: string): void
  event(level: 'info' | 'warning' | 'error', event: string, fields?: Readonly<Record<string, unknown>>): void
  /** A line for every stage and block that begins or ends, with the memory at that moment. */
  progress(progress: Progress): void
  close(): void
}

/** `now` in ms since 1970. */
export function createRunLog(now: () => number, memory: () => MemoryReading): RunLog {
  let fd: number | undefined
  let last = ''
  const event: RunLog['event'] = (level, name, fields = {}) => {
    if (fd === undefined) return
    const line = { time: new Date(now()).toISOString(), level, event: name, ...fields }
    writeSync(fd, `${JSON.stringify(line)}\n`)
  }
  const reading = (): MemoryReading => {
    const { rss, heapUsed, external } = memory()
    return { rss, heapUsed, external }
  }
  return {
    event,
    open(path) {
      fd = openSync(path, 'a')
    },
    progress({ stage, done, total, block, blocks, note, fallbacks = [] }) {
      if (fd === undefined) return
      const place = `${stage} ${block}`
      const where = block === undefined ? {} : { block, blocks }
      if (note !== undefined) event('info', 'block', { ...where, note, ...reading() })
      else if (place !== last) event('info', 'stage', { stage, ...where, done, total, ...reading() })
      last = place
      for (const fallback of fallbacks) event('warning', 'fallback', fallback)
    },
    close() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}
