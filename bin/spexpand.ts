#!/usr/bin/env node
import type { Writable } from 'node:stream'
import type { Context } from './context.ts'
import { failureOf, failureText } from './failure.ts'
import { main } from './main.ts'
import { watchSignals } from './signals.ts'

const { env, stderr, stdout } = process

// A reader that went away (`spexpand … | head`) is no error of ours: what is left to write has no one to read it.
for (const stream of [stdout, stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

process.on('uncaughtException', (error) => {
  const failure = failureOf(error)
  stderr.write(failureText(failure), () => process.exit(failure.code))
})

const signals = watchSignals(process, (line) => stderr.write(line))
const context: Context = {
  stdout,
  stderr,
  bars: stderr.isTTY && env['TERM'] !== 'dumb',
  now: () => performance.now(),
  signal: signals.signal,
  library: () => import('../src/index.ts'),
}

const code = signals.exitCode(await main(process.argv.slice(2), context))
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
