import { totalmem } from 'node:os'
import { MemoryLimitError } from '../errors.ts'
import type { OpenedModel } from '../model/open.ts'
import { megabytes, peakBytes } from './memory-model.ts'
import type { Resolved } from './options.ts'

/** How a run keeps to its memory, and what it is expected to take at most. None of it changes the result. */
export type MemoryPlan = {
  /** Worker threads: --threads, or fewer where that many do not fit. */
  readonly workers: number
  /** Experts whose Σ x xᵀ may exist at once. */
  readonly expertsAtOnce: number
  /** Hidden states and FF inputs of all tokens on disk instead of in memory. */
  readonly spooled: boolean
  /** Expected peak of the resident memory of the process with its workers, bytes. */
  readonly peakBytes: number
}

/** Share of the machine's memory that a run may take when nobody says how much. */
const DEFAULT_SHARE = 0.75

/** Bytes that a run may take: what --max-memory says, or three quarters of the machine's (or the container's) memory. */
export function memoryLimit({ maxMemoryBytes }: Pick<Resolved, 'maxMemoryBytes'>): number {
  if (maxMemoryBytes !== undefined) return maxMemoryBytes
  const constrained = process.constrainedMemory()
  const machine = constrained !== undefined && constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
  return Math.floor(DEFAULT_SHARE * machine)
}

/**
 * The fastest way to run that fits: first fewer experts at once, then rows on disk, then fewer workers. Where nothing
 * fits, the smallest way if nobody named a limit; else throws MemoryLimitError naming the smallest limit that works.
 */
export function planMemory(model: OpenedModel, options: Resolved): MemoryPlan {
  const limit = memoryLimit(options)
  const ways = waysOf(options).map((way) => ({ ...way, peakBytes: peakBytes(model, options, way) }))
  const fitting = ways.find(({ peakBytes }) => peakBytes <= limit)
  if (fitting) return fitting
  const smallest = ways.reduce((least, way) => (way.peakBytes < least.peakBytes ? way : least))
  if (options.maxMemoryBytes === undefined) return smallest
  throw new MemoryLimitError(
    `Cannot compress within --max-memory ${megabytes(limit)}: this model and these options need about ` +
      `${megabytes(smallest.peakBytes)} with one worker and rows on disk: --max-memory ${megabytes(smallest.peakBytes)} is the ` +
      `smallest that works`,
  )
}

type Way = Omit<MemoryPlan, 'peakBytes'>

/** All ways to run, the fastest first. */
function waysOf({ threads, experts }: Resolved): Way[] {
  const ways: Way[] = []
  for (let workers = threads; workers >= 1; workers--)
    for (const spooled of [false, true])
      for (const expertsAtOnce of new Set([2 * workers, workers, 1].map((count) => Math.min(experts, count))))
        ways.push({ workers, expertsAtOnce, spooled })
  return ways
}
