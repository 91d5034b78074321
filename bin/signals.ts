import { EXIT_CODES } from '../src/errors.ts'

type Signal = 'SIGINT' | 'SIGTERM'

/** The part of `process` that signals need; tests put their own here. */
export type SignalSource = {
  on(signal: Signal, listener: () => void): unknown
  exit(code: number): void
}

/** What the signals have said so far. */
export type Signals = {
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal
  /** The exit code of a run that ended with `code`: 143 instead of 130 when SIGTERM interrupted it. */
  exitCode(code: number): number
}

const CODES: Readonly<Record<Signal, number>> = { SIGINT: EXIT_CODES.interrupted, SIGTERM: 143 }

const STOPPING =
  '\nspexpand: stopping after the current piece of work (once more: at once); ' +
  'compress keeps finished blocks, the same command goes on from there\n'

/** The first signal asks the run to stop after its current piece of work, the second ends the process at once. */
export function watchSignals(source: SignalSource, say: (line: string) => void): Signals {
  const controller = new AbortController()
  let first: Signal | undefined
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    source.on(name, () => {
      if (first !== undefined) return source.exit(CODES[name])
      first = name
      controller.abort()
      say(STOPPING)
    })
  return {
    signal: controller.signal,
    exitCode: (code) => (code === EXIT_CODES.interrupted && first !== undefined ? CODES[first] : code),
  }
}
