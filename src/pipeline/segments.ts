/** Rows of one job: fixed, so that sums do not depend on the number of threads. */
const SEGMENT_ROWS = 8192

/** Tokens by expert, ascending within each. */
export type Groups = readonly Uint32Array[]

/** The rows of a cluster in pieces of one job each; copies, because a view would send its whole buffer. */
export function segmentsOf(rows: Uint32Array): Uint32Array[] {
  const segments: Uint32Array[] = []
  for (let start = 0; start < rows.length; start += SEGMENT_ROWS) segments.push(rows.slice(start, start + SEGMENT_ROWS))
  return segments
}

/** Rows per label, ascending. */
export function groupsOf(labels: ArrayLike<number>, experts: number): Groups {
  const counts = new Uint32Array(experts)
  for (let i = 0; i < labels.length; i++) counts[labels[i]!]!++
  const groups = Array.from(counts, (count) => new Uint32Array(count))
  const at = new Uint32Array(experts)
  for (let i = 0; i < labels.length; i++) {
    const e = labels[i]!
    groups[e]![at[e]!++] = i
  }
  return groups
}
