import { FormatError } from '../errors.ts'
import type { GgufFile } from '../formats/gguf/reader.ts'

/** Metadata by key, checked; keys that begin with a dot belong to the architecture ('.block_count'). */
export type GgufMetadata = {
  readonly path: string
  readonly architecture: string
  has(key: string): boolean
  /** A finite number; `otherwise` where the key is absent. Throws FormatError naming path, key, got and wanted. */
  number(key: string, otherwise?: number): number
  /** A whole number of 0 or more. */
  whole(key: string, otherwise?: number): number
  flag(key: string, otherwise: boolean): boolean
  text(key: string): string | undefined
  texts(key: string): readonly string[] | undefined
  numbers(key: string): readonly number[] | undefined
}

/** The metadata of a file. Throws FormatError when it does not name an architecture. */
export function metadataOf({ path, metadata }: Pick<GgufFile, 'path' | 'metadata'>): GgufMetadata {
  const architecture = metadata.get('general.architecture')
  if (typeof architecture !== 'string')
    throw new FormatError(`Cannot read ${path}: general.architecture is ${kindOf(architecture)}, expected a string`)
  const full = (key: string): string => (key.startsWith('.') ? architecture + key : key)
  const get = <T>(key: string, wanted: string, is: (value: unknown) => value is T, otherwise?: T): T => {
    const value = metadata.get(full(key)) ?? otherwise
    if (is(value)) return value
    throw new FormatError(`Cannot read ${path}: ${full(key)} is ${kindOf(value)}, expected ${wanted}`)
  }
  const has = (key: string): boolean => metadata.has(full(key))
  return {
    path,
    architecture,
    has,
    number: (key, otherwise) => shortest(get(key, 'a number', isNumber, otherwise)),
    whole: (key, otherwise) => get(key, 'a whole number of 0 or more', isWhole, otherwise),
    flag: (key, otherwise) => get(key, 'true or false', isFlag, otherwise),
    text: (key) => (has(key) ? get(key, 'a string', isText) : undefined),
    texts: (key) => (has(key) ? get(key, 'a list of strings', isTexts) : undefined),
    numbers: (key) => (has(key) ? get(key, 'a list of numbers', isNumbers) : undefined),
  }
}

/** Files hold float32: 1e-5 where config.json said 1e-5, and not the 9.999999747378752e-6 next to it. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits))
    if (Math.fround(rounded) === value) return rounded
  }
  return value
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isFlag(value: unknown): value is boolean {
  return typeof value === 'boolean'
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isText)
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number')
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing'
  if (Array.isArray(value)) return `a list of ${value.length}`
  return typeof value === 'string' ? `the string ${JSON.stringify(value.slice(0, 40))}` : String(value)
}
