import { CommanderError } from 'commander'
import type { Context } from './context.ts'
import type { Failure } from './failure.ts'
import { failureJson, failureOf, failureText } from './failure.ts'
import { createProgram } from './program.ts'

/** Runs one command line (without node and script) and returns its exit code. It never throws. */
export async function main(argv: readonly string[], context: Context): Promise<number> {
  try {
    await createProgram(context).parseAsync([...argv], { from: 'user' })
    return 0
  } catch (error) {
    // --help and --version end this way too, after they have printed.
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    return tell(failureOf(error), argv, context)
  }
}

function tell(failure: Failure, argv: readonly string[], context: Context): number {
  const { kind, code, message, stack } = failure
  context.log.event('error', 'error', { kind, code, message, ...(stack === undefined ? {} : { stack }) })
  // `spexpand` alone: commander has printed the help to standard error, a line more would say less.
  const helped = argv.length === 0 && failure.kind === 'usage'
  if (!helped) context.stderr.write(failureText(failure))
  if (argv.includes('--json')) context.stdout.write(`${JSON.stringify(failureJson(failure))}\n`)
  return failure.code
}
