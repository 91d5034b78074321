/** Wall time by stage. Times are for people: they never enter an artifact, which must not depend on them. */
export type Stopwatch = {
  /** Adds the time since the last lap to `stage`. */
  readonly lap: (stage: string) => void
  readonly totalMs: () => number
  readonly stages: () => Record<string, number>
}

export function stopwatch(): Stopwatch {
  const start = performance.now()
  let last = start
  const stages: Record<string, number> = {}
  return {
    lap(stage) {
      const now = performance.now()
      stages[stage] = (stages[stage] ?? 0) + now - last
      last = now
    },
    totalMs: () => performance.now() - start,
    stages: () => ({ ...stages }),
  }
}

/** Processor time of this process and its threads so far, ms. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Largest resident memory of this process with its threads so far, bytes. */
export function peakRss(): number {
  return process.resourceUsage().maxRSS * 1024
}
