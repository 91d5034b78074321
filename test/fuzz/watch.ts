import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'

/** What one call did besides its result. */
export type Seen = {
  /** Largest single array asked for, in bytes (lists: 8 an item). */
  readonly largestBytes: number
  /** Files that were opened. */
  readonly opened: readonly string[]
}

type Constructor = new (...args: unknown[]) => unknown
const ARRAYS = [
  ['Uint8Array', 'Int8Array', 'Uint16Array', 'Int16Array', 'Uint32Array', 'Int32Array', 'Float32Array'],
  ['Float64Array', 'BigInt64Array', 'BigUint64Array', 'Uint8ClampedArray'],
].flat()
const OPENERS = ['openSync', 'readFileSync', 'createReadStream', 'writeFileSync', 'renameSync', 'copyFileSync'] as const

let largest = 0
let opened: string[] = []

/**
 * Records allocations by count and files by name, through the global constructors and node:fs: a length that a header
 * claims is seen even where the memory is never touched. Returns what puts everything back.
 */
export function watch(): () => void {
  const globals = globalThis as unknown as Record<string, Constructor & { BYTES_PER_ELEMENT?: number }>
  const plain = new Map<string, unknown>()
  for (const name of [...ARRAYS, 'ArrayBuffer'])
    replace(globals, name, plain, (original) => {
      const size = (original as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1
      return new Proxy(original as Constructor, {
        construct(target, args: unknown[], newTarget) {
          if (typeof args[0] === 'number') largest = Math.max(largest, args[0] * size)
          return Reflect.construct(target, args, newTarget) as object
        },
      })
    })
  const files = new Map<string, unknown>()
  const holder = fs as unknown as Record<string, unknown>
  for (const name of OPENERS)
    replace(holder, name, files, (original) => (target: unknown, ...rest: unknown[]) => {
      if (typeof target === 'string') opened.push(path.resolve(target))
      return (original as (...args: unknown[]) => unknown)(target, ...rest)
    })
  const from = Array.from
  Array.from = ((list: { length?: number }, ...rest: []) => {
    if (typeof list?.length === 'number' && typeof list !== 'string') largest = Math.max(largest, 8 * list.length)
    return from(list as never, ...rest)
  }) as typeof Array.from
  syncBuiltinESMExports()
  return () => {
    for (const [name, original] of plain) globals[name] = original as Constructor
    for (const [name, original] of files) holder[name] = original
    Array.from = from
    syncBuiltinESMExports()
  }
}

/** What was seen since the last call. */
export function takeSeen(): Seen {
  const seen = { largestBytes: largest, opened: [...new Set(opened)] }
  largest = 0
  opened = []
  return seen
}

function replace(
  holder: Record<string, unknown>,
  name: string,
  kept: Map<string, unknown>,
  by: (original: unknown) => unknown,
): void {
  kept.set(name, holder[name])
  holder[name] = by(holder[name])
}

const PROTOTYPES = [Object, Array, Function, String, Number, Map, Set, Uint8Array, Error].map(
  ({ prototype }) => prototype as object,
)

/** Names that every object would have if they were put into a prototype. */
export function prototypeNames(): string {
  return PROTOTYPES.map((prototype) => Reflect.ownKeys(prototype).map(String).join()).join(';')
}
