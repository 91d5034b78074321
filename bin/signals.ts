import { EXIT_CODES } from '../src/errors.ts'

type Signal = 'SIGINT' | 'SIGTERM'

/** The part of `process` that signals need, and a timer; tests put their own here. */
export type SignalSource = {
  on(signal: Signal, listener: () => void): unknown
  exit(code: number): void
  /** Calls `then` after some time, unless the process has ended before. */
  after(ms: number, then: () => void): void
}

/** What the signals have said so far. */
export type Signals = {
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal
  /** The exit code of a run that ended with `code`: 143 instead of 130 when SIGTERM interrupted it. */
  exitCode(code: number): number
}

const CODES: Readonly<Record<Signal, number>> = { SIGINT: EXIT_CODES.interrupted, SIGTERM: 143 }

/** A piece of work that takes longer than this is not waited for: what is finished is on disk already. */
const PATIENCE_MS = 4000

const STOPPING =
  '\nspexpand: stopping after the current piece of work, in 4 seconds at most (once more: at once); ' +
  'compress keeps finished blocks, the same command goes on from there\n'

/**
 * The first signal asks the run to stop after its current piece of work and ends the process when that takes too long, the
 * second ends it at once. `heard` is told of every signal.
 */
export function watchSignals(
  source: SignalSource,
  say: (line: string) => void,
  heard: (signal: Signal) => void = () => {},
): Signals {
  const controller = new AbortController()
  let first: Signal | undefined
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    source.on(name, () => {
      heard(name)
      if (first !== undefined) return source.exit(CODES[name])
      first = name
      source.after(PATIENCE_MS, () => source.exit(CODES[name]))
      controller.abort()
      say(STOPPING)
    })
  return {
    signal: controller.signal,
    exitCode: (code) => (code === EXIT_CODES.interrupted && first !== undefined ? CODES[first] : code),
  }
}
