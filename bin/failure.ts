import { CommanderError } from 'commander'
import type { ErrorKind } from '../src/errors.ts'
import { EXIT_CODES, GateError, SpexpandError } from '../src/errors.ts'

/** An error as the command line tells it: its kind, its exit code, one line, and for bugs where it happened. */
export type Failure = {
  readonly kind: ErrorKind
  readonly code: number
  readonly message: string
  readonly stack?: string
  /** What was measured, where a gate failed: it is told beside the error. */
  readonly result?: object
}

// System errors that a file operation may throw anywhere: a path the user gave, or a machine that is full.
const SYSTEM_KINDS: Readonly<Record<string, ErrorKind>> = {
  ENOENT: 'input',
  EACCES: 'input',
  EPERM: 'input',
  EISDIR: 'input',
  ENOTDIR: 'input',
  EEXIST: 'input',
  ENAMETOOLONG: 'input',
  EROFS: 'input',
  EMFILE: 'resources',
  ENFILE: 'resources',
  ENOMEM: 'resources',
  ENOSPC: 'resources',
  EDQUOT: 'resources',
  EFBIG: 'resources',
  EIO: 'resources',
}

/** Sorts whatever was thrown into one of the kinds; what fits none is a bug and keeps its stack. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CommanderError) return failure('usage', commanderMessage(error))
  if (error instanceof GateError) return { ...failure(error.kind, oneLine(error.message)), result: error.result }
  if (error instanceof SpexpandError && error.kind !== 'bug') return failure(error.kind, oneLine(error.message))
  if (!(error instanceof Error)) return { ...failure('bug', oneLine(String(error))), stack: String(error) }
  if (error.name === 'AbortError') return failure('interrupted', 'Stopped before the work was done')
  const system = SYSTEM_KINDS[(error as NodeJS.ErrnoException).code ?? '']
  if (system) return failure(system, oneLine(error.message))
  if (/allocation failed|out of memory/i.test(error.message)) return failure('resources', memoryMessage(error))
  return { ...failure('bug', oneLine(error.message)), stack: error.stack ?? error.message }
}

/** The lines for standard error. */
export function failureText({ kind, message, stack }: Failure): string {
  if (kind === 'bug')
    return `spexpand: bug: ${message}\n${stack ?? ''}\nThis should not happen: please report it with the command and the lines above\n`
  return `spexpand: ${message}\n`
}

/** The object for standard output under --json. */
export function failureJson({ kind, message, result }: Failure): { error: { kind: ErrorKind; message: string } } {
  return { ...result, error: { kind, message } }
}

function failure(kind: ErrorKind, message: string): Failure {
  return { kind, code: EXIT_CODES[kind], message }
}

/** "error: unknown option '--exprts'\n(Did you mean --experts?)" as one line without the prefix. */
function commanderMessage(error: CommanderError): string {
  return oneLine(error.message.replace(/^error: /, ''))
}

function memoryMessage(error: Error): string {
  return oneLine(`Out of memory: ${error.message}: try fewer --threads, --max-memory or a shorter --sequence-length`)
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ')
}
