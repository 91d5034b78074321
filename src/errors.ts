/** What went wrong, as a user can act on it; each kind has one exit code. */
export type ErrorKind =
  | 'bug'
  | 'usage'
  | 'input'
  | 'unsupported'
  | 'resources'
  | 'numerical'
  | 'gate'
  | 'integrity'
  | 'network'
  | 'interrupted'

/** Exit code of the command line for each kind (docs/cli). */
export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  bug: 1,
  usage: 2,
  input: 3,
  unsupported: 4,
  resources: 5,
  numerical: 6,
  gate: 7,
  integrity: 8,
  network: 9,
  interrupted: 130,
}

/** Messages quote names out of files, which may be megabytes long. */
const MAX_MESSAGE_CHARS = 4000
/** Characters that end a line, move a terminal's cursor, or turn the direction of writing. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** `text` in one line of limited length, whatever a file has put into it. */
function oneLine(text: string): string {
  const half = MAX_MESSAGE_CHARS / 2
  const short = text.length > MAX_MESSAGE_CHARS ? `${text.slice(0, half)} … ${text.slice(-half)}` : text
  return short.replaceAll(CONTROL, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** An error that a user can act on: one line that names action, place, got, wanted and remedy. */
export class SpexpandError extends Error {
  readonly kind: ErrorKind

  constructor(kind: ErrorKind, message: string, options?: { cause?: unknown }) {
    super(oneLine(message), options)
    this.name = 'SpexpandError'
    this.kind = kind
  }
}

/** Wrong flags or options (exit 2). */
export class UsageError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('usage', message, options)
    this.name = 'UsageError'
  }
}

/** A file that is not what it claims to be: safetensors, ONNX, config, tokenizer, text (exit 3). */
export class FormatError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('input', message, options)
    this.name = 'FormatError'
  }
}

/** Tensors whose shapes do not fit together (exit 3). */
export class ShapeError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('input', message, options)
    this.name = 'ShapeError'
  }
}

/** Valid input that this version or machine cannot handle: family, operator, provider (exit 4). */
export class UnsupportedError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('unsupported', message, options)
    this.name = 'UnsupportedError'
  }
}

/** Out of disk, memory or time (exit 5). */
export class ResourceError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('resources', message, options)
    this.name = 'ResourceError'
  }
}

/** What was asked for needs more memory than the limit that was given; nothing was begun (exit 5). */
export class MemoryLimitError extends ResourceError {}

/** The arithmetic failed: a matrix that cannot be factored, NaN or Inf where numbers are wanted (exit 6). */
export class SolverError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('numerical', message, options)
    this.name = 'SolverError'
  }
}

/** A measurement missed a limit that was set for it; `result` is what was measured (exit 7). */
export class GateError extends SpexpandError {
  readonly result: object

  constructor(message: string, result: object, options?: { cause?: unknown }) {
    super('gate', message, options)
    this.name = 'GateError'
    this.result = result
  }
}

/** Files that changed or do not belong together: checksums, fingerprints (exit 8). */
export class IntegrityError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('integrity', message, options)
    this.name = 'IntegrityError'
  }
}

/** A server could not be reached, or did not give what was asked for (exit 9). */
export class NetworkError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('network', message, options)
    this.name = 'NetworkError'
  }
}

/** The run was stopped from outside and can be continued (exit 130). */
export class InterruptedError extends SpexpandError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('interrupted', message, options)
    this.name = 'InterruptedError'
  }
}
