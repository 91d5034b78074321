import type { GramJob } from '../jobs.ts'
import type { JobRunner } from '../pool.ts'
import type { RowStore } from '../rowstore.ts'
import { segmentsOf } from '../segments.ts'

/** Σ x xᵀ over the FF inputs or the dense intermediates of some rows, whichever segment is ready first. */
export async function gramOf(
  run: { readonly runner: JobRunner; readonly ffnIn: RowStore },
  layer: number,
  rows: Uint32Array,
  source: GramJob['source'],
): Promise<Float32Array> {
  const parts = await Promise.all(
    segmentsOf(rows).map((segment) =>
      run.runner.run({ kind: 'gram', layer, rows: segment, source, ffnIn: run.ffnIn.ref }),
    ),
  )
  const [sum, ...rest] = parts
  for (const part of rest) for (let i = 0; i < sum!.length; i++) sum![i]! += part[i]!
  return sum!
}
