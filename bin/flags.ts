import { UsageError } from '../src/errors.ts'
import type { Pattern } from '../src/index.ts'

// Number() takes '', ' 3', '0x10' and 'Infinity', parseInt takes '12abc': a flag is a plain decimal number or a mistake.
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i
const WHOLE = /^\d+$/

const MEMORY = /^(\d+(?:\.\d+)?|\.\d+)([KMGT])(?:i?B)?$/i
const UNIT_BYTES: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

/** Bounds of a numeric flag; `above` and `below` are exclusive, `min` and `max` are not. */
export type Bounds = {
  readonly min?: number
  readonly max?: number
  readonly above?: number
  readonly below?: number
  readonly example: string
}

/** A parser for a decimal number within bounds. It throws UsageError with what came and what was wanted. */
export function decimal(flag: string, bounds: Bounds): (value: string) => number {
  return (value) => within(flag, value, DECIMAL.test(value) ? Number(value) : NaN, 'a number', bounds)
}

/** A parser for a whole number in plain digits within bounds. */
export function whole(flag: string, bounds: Bounds): (value: string) => number {
  return (value) => {
    const parsed = WHOLE.test(value) ? Number(value) : NaN
    return within(flag, value, Number.isSafeInteger(parsed) ? parsed : NaN, 'a whole number', bounds)
  }
}

/** A parser for one of some words. */
export function choice<T extends string>(flag: string, words: readonly T[]): (value: string) => T {
  return (value) => {
    const found = words.find((word) => word === value)
    if (found === undefined) throw new UsageError(`${flag}: got ${quoted(value)}, wanted one of ${words.join(', ')}`)
    return found
  }
}

/** Bytes from '6G', '512M', '1.5GiB': binary units, G = 2^30. A bare number is refused, its unit would be a guess. */
export function memory(flag: string): (value: string) => number {
  return (value) => {
    const match = MEMORY.exec(value)
    const bytes = match ? Math.round(Number(match[1]) * UNIT_BYTES[match[2]!.toUpperCase()]!) : 0
    if (bytes < UNIT_BYTES['M']! || !Number.isSafeInteger(bytes))
      throw new UsageError(`${flag}: got ${quoted(value)}, wanted at least 1M with a unit K, M, G or T, e.g. 6G`)
    return bytes
  }
}

/** An n:m pattern, n zeros in every m inputs: '2:4'. */
export function nOfM(flag: string): (value: string) => Pattern {
  return (value) => {
    const match = /^(\d{1,4}):(\d{1,4})$/.exec(value)
    const n = Number(match?.[1])
    const m = Number(match?.[2])
    if (!match || n < 1 || n >= m)
      throw new UsageError(
        `${flag}: got ${quoted(value)}, wanted n:m with n zeros in every m inputs, 0 < n < m, e.g. 2:4`,
      )
    return { kind: 'n:m', n, m }
  }
}

/** Collects a flag that may be given more than once. */
export function repeated(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value]
}

function within(flag: string, text: string, value: number, kind: string, bounds: Bounds): number {
  const { min = -Infinity, max = Infinity, above = -Infinity, below = Infinity } = bounds
  if (value >= min && value <= max && value > above && value < below) return value
  throw new UsageError(`${flag}: got ${quoted(text)}, wanted ${kind}${range(bounds)}, e.g. ${bounds.example}`)
}

function range({ min, max, above, below }: Bounds): string {
  if (above !== undefined) return ` above ${above}`
  if (min !== undefined && below !== undefined) return ` in [${min}, ${below})`
  if (min !== undefined && max !== undefined) return ` in [${min}, ${max}]`
  return min === undefined ? '' : `, at least ${min}`
}

/** Bare where it reads well, quoted where an empty or odd value would vanish in the sentence. */
function quoted(value: string): string {
  return /^[\w.:+-]+$/.test(value) ? value : JSON.stringify(value)
}
