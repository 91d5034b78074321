import { CommanderError } from 'commander'
import { describe, expect, it } from 'vitest'
import { failureJson, failureOf, failureText } from '../../bin/failure.ts'
import type { ErrorKind } from '../../src/errors.ts'
import { EXIT_CODES, FormatError, ResourceError, SolverError, SpexpandError } from '../../src/errors.ts'

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

describe('failureOf()', () => {
  it.each(Object.entries(EXIT_CODES).filter(([kind]) => kind !== 'bug'))('gives kind %s exit code %d', (kind, code) => {
    expect(failureOf(new SpexpandError(kind as ErrorKind, 'x'))).toEqual({ kind, code, message: 'x' })
  })

  it.each([
    [new FormatError('a'), 3],
    [new ResourceError('a'), 5],
    [new SolverError('a'), 6],
    [systemError('ENOENT', 'ENOENT: no such file'), 3],
    [systemError('ENOSPC', 'ENOSPC: no space left on device, write'), 5],
    [new RangeError('Array buffer allocation failed'), 5],
    [new DOMException('aborted', 'AbortError'), 130],
    [new CommanderError(1, 'commander.unknownOption', "error: unknown option '--x'"), 2],
    [new TypeError('x is not a function'), 1],
    ['a thrown string', 1],
  ])('sorts %s', (error, code) => {
    expect(failureOf(error).code).toBe(code)
  })

  it('makes one line of a suggestion', () => {
    const error = new CommanderError(
      1,
      'commander.unknownOption',
      "error: unknown option '--exprts'\n(Did you mean --experts?)",
    )
    expect(failureText(failureOf(error))).toBe("spexpand: unknown option '--exprts' (Did you mean --experts?)\n")
  })

  it('keeps the stack of bugs only, and asks to report them', () => {
    const bug = failureText(failureOf(new TypeError('x is not a function')))
    expect(bug).toContain('spexpand: bug: x is not a function\n')
    expect(bug).toContain('failure.test.ts')
    expect(bug).toContain('please report')
    expect(failureText(failureOf(new FormatError('Cannot read a: got b')))).toBe('spexpand: Cannot read a: got b\n')
  })

  it('keeps kind and message for --json', () => {
    expect(failureJson(failureOf(new FormatError('m')))).toEqual({ error: { kind: 'input', message: 'm' } })
  })
})
