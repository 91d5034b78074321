import { FormatError } from '../../errors.ts'
import type { Wide } from './schema.ts'

/** A 64-bit integer as a number. Throws FormatError, beginning with `what`, when it is beyond 2^53. */
export function toNumber(value: number | Wide, what: string): number {
  const number =
    typeof value === 'number' ? value : (value.unsigned ? value.high >>> 0 : value.high) * 2 ** 32 + (value.low >>> 0)
  return exactInteger(number, what)
}

/** `value` itself. Throws FormatError, beginning with `what`, unless it is an integer that a double holds exactly. */
export function exactInteger(value: number, what: string): number {
  if (!Number.isSafeInteger(value))
    throw new FormatError(`${what} is ${value}, expected an integer of at most 2^53 - 1`)
  return value
}
