#!/usr/bin/env node
import type { Writable } from 'node:stream'
import type { Context } from './context.ts'
import { failureOf, failureText } from './failure.ts'
import { createRunLog } from './log.ts'
import { main } from './main.ts'
import { watchSignals } from './signals.ts'

const { env, stderr, stdout } = process

// A reader that went away (`spexpand … | head`) is no error of ours: what is left to write has no one to read it.
for (const stream of [stdout, stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

const log = createRunLog(Date.now, process.memoryUsage)

process.on('uncaughtException', (error) => {
  const failure = failureOf(error)
  log.event('error', 'error', failure)
  stderr.write(failureText(failure), () => process.exit(failure.code))
})

const signals = watchSignals(
  {
    on: (signal, listener) => process.on(signal, listener),
    exit(code) {
      log.event('warning', 'end', { code })
      process.exit(code)
    },
    after: (ms, then) => setTimeout(then, ms).unref(),
  },
  (line) => stderr.write(line),
  (signal) => log.event('warning', 'signal', { signal }),
)
const context: Context = {
  stdout,
  stderr,
  bars: stderr.isTTY && env['TERM'] !== 'dumb',
  now: () => performance.now(),
  signal: signals.signal,
  log,
  library: () => import('../src/index.ts'),
}

const code = signals.exitCode(await main(process.argv.slice(2), context))
const { user, system } = process.cpuUsage()
const peakRss = process.resourceUsage().maxRSS * 1024
log.event('info', 'end', { code, wallMs: performance.now(), cpuMs: (user + system) / 1000, peakRss })
log.close()
await Promise.all([flushed(stdout), flushed(stderr)])
// Not left to the event loop: after an error, worker threads may still hold it open.
process.exit(code)

/** Pipes are written asynchronously; process.exit() would cut off what is on its way. */
function flushed(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.writableEnded) resolve()
    else stream.write('', () => resolve())
  })
}
