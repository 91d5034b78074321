/** Milliseconds of repeated runs: the median, and the quarters around it. */
export type Timing = { readonly medianMs: number; readonly q1Ms: number; readonly q3Ms: number; readonly runs: number }

/** One of several things that are timed against each other; it is told the round. */
export type Contender = (round: number) => Promise<unknown>

/**
 * Times contenders in turns, so that whatever else the machine does meets all of them alike: `warmUp` rounds that do not
 * count, then `rounds` that do. Every other round goes backwards. Returns timings in the order of the contenders.
 */
export async function timeInTurns(
  contenders: readonly Contender[],
  options: {
    readonly warmUp: number
    readonly rounds: number
    /** Milliseconds of a clock that only goes forward. */
    readonly now: () => number
    readonly onRound?: () => void
  },
): Promise<Timing[]> {
  const times = contenders.map((): number[] => [])
  for (let round = 0; round < options.warmUp + options.rounds; round++) {
    const order = contenders.map((_, i) => (round % 2 === 0 ? i : contenders.length - 1 - i))
    for (const i of order) {
      const start = options.now()
      await contenders[i]!(round)
      if (round >= options.warmUp) times[i]!.push(options.now() - start)
    }
    options.onRound?.()
  }
  return times.map((list) => timingOf(list))
}

/** Quartiles by linear interpolation between sorted values. */
export function timingOf(times: readonly number[]): Timing {
  const sorted = [...times].sort((a, b) => a - b)
  return {
    medianMs: quantile(sorted, 0.5),
    q1Ms: quantile(sorted, 0.25),
    q3Ms: quantile(sorted, 0.75),
    runs: times.length,
  }
}

function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1)
  const low = sorted[Math.floor(at)]!
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at))
}
