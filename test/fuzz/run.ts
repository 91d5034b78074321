import path from 'node:path'
import * as fc from 'fast-check'
import { SpexpandError } from '../../src/errors.ts'
import type { Recipe, Target } from './target.ts'
import { inputOf, recipes } from './target.ts'
import { prototypeNames, takeSeen } from './watch.ts'

/** No call of a reader may take longer than that on a file of some kB; processor time, so that a busy machine does not count. */
const MAX_MS = 2000
/** No reader may ask for an array of more than that, or 64 times its file. */
const MAX_ARRAY_BYTES = 64 << 20

/** What a lock reads to know this process again. */
const OWN_FILES: ReadonlySet<string> = new Set([`/proc/${process.pid}/stat`, '/proc/sys/kernel/random/boot_id'])

export type Outcome = {
  readonly target: string
  /** Share of all inputs that it should have, beside those of others. */
  readonly share: number
  readonly inputs: number
  readonly seconds: number
  readonly worstMs: number
  readonly largestBytes: number
  /** Growth of the process's largest resident size, bytes. */
  readonly grownBytes: number
  /** How often what came of it: 'parsed', or a class of src/errors.ts. */
  readonly results: Readonly<Record<string, number>>
}

/**
 * Feeds a target with changed files. Throws at the first input that breaks the contract, shrunk, with the seed that makes
 * it again: every file is parsed or refused by one of our errors, soon, without large arrays, without opening a file
 * outside `scratch`, and with no prototype touched.
 */
export async function fuzz(target: Target, inputs: number, seed: number, scratch: string): Promise<Outcome> {
  const results: Record<string, number> = {}
  let worstMs = 0
  let largestBytes = 0
  const before = process.resourceUsage().maxRSS * 1024
  const begin = performance.now()
  const attempt = async (recipe: Recipe): Promise<void> => {
    const bytes = inputOf(target, recipe)
    const names = prototypeNames()
    takeSeen()
    const { result, ms } = await outcomeOf(target, bytes)
    const seen = takeSeen()
    results[result] = (results[result] ?? 0) + 1
    worstMs = Math.max(worstMs, ms)
    largestBytes = Math.max(largestBytes, seen.largestBytes)
    if (ms > MAX_MS) throw new Error(`it took ${ms.toFixed(0)} ms of processor time`)
    if (seen.largestBytes > Math.max(MAX_ARRAY_BYTES, 64 * bytes.length))
      throw new Error(`it asked for ${seen.largestBytes} bytes, the file has ${bytes.length}`)
    const outside = seen.opened.find((file) => !file.startsWith(scratch + path.sep) && !OWN_FILES.has(file))
    if (outside !== undefined) throw new Error(`it opened ${outside}`)
    if (prototypeNames() !== names) throw new Error('it changed a prototype')
  }
  await fc.assert(fc.asyncProperty(recipes, attempt), { numRuns: inputs, seed, endOnFailure: false })
  return {
    target: target.name,
    share: target.share ?? 1,
    inputs,
    seconds: (performance.now() - begin) / 1000,
    worstMs,
    largestBytes,
    grownBytes: process.resourceUsage().maxRSS * 1024 - before,
    results,
  }
}

/** What came of reading the file, and the processor time of the longest call, ms. */
async function outcomeOf({ read }: Target, bytes: Uint8Array): Promise<{ result: string; ms: number }> {
  let before = process.cpuUsage()
  let worst = 0
  const next = (): void => {
    const { user, system } = process.cpuUsage(before)
    worst = Math.max(worst, (user + system) / 1000)
    before = process.cpuUsage()
  }
  const spent = (): number => {
    next()
    return worst
  }
  try {
    await read(bytes, next)
    return { result: 'parsed', ms: spent() }
  } catch (error) {
    const ms = spent()
    if (!(error instanceof SpexpandError) || error.kind === 'bug') throw error
    if (/\n/.test(error.message)) throw new Error(`its message has several lines: ${error.message}`, { cause: error })
    return { result: error.name, ms }
  }
}
