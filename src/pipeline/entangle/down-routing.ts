import type { Router } from '../../cluster/router.ts'
import type { Blas } from '../../tensor/blas.ts'
import type { PackedFfn } from '../jobs.ts'
import { RowStore } from '../rowstore.ts'
import type { Groups } from '../segments.ts'
import { groupsOf, segmentsOf } from '../segments.ts'
import type { Measurement } from './layer.ts'
import { routeWithMargins } from './routing.ts'

/** Experts of the down projection by its own router, and the intermediates that it routes on (tokens, ff). */
export type DownRouting = { readonly groups: Groups; readonly intermediates: RowStore }

/** Routes the down projection as the artifact does: on the intermediates of the pruned gate and up of every token. */
export async function routeDown(
  run: Measurement,
  layer: number,
  groups: Groups,
  ffns: readonly PackedFfn[],
  downRouter: Router,
  blas: Blas,
): Promise<DownRouting> {
  const { rows } = run.ffnIn.ref
  const intermediates = RowStore.create(rows, downRouter.weight.cols)
  await eachSegment(groups, (rows, e) =>
    run.runner.run({
      kind: 'intermediate',
      layer,
      rows,
      ffnIn: run.ffnIn.ref,
      out: intermediates.ref,
      front: ffns[e]!,
    }),
  )
  const { labels } = await routeWithMargins(intermediates, downRouter, blas)
  return { groups: groupsOf(labels, ffns.length), intermediates }
}

/** hidden += every token's own down expert on its intermediates. */
export async function propagateDown(
  run: Measurement,
  layer: number,
  { groups, intermediates }: DownRouting,
  ffns: readonly PackedFfn[],
): Promise<void> {
  await eachSegment(groups, (rows, e) =>
    run.runner.run({
      kind: 'propagateDown',
      layer,
      rows,
      intermediates: intermediates.ref,
      hidden: run.hidden.ref,
      down: ffns[e]!.down,
    }),
  )
}

function eachSegment(groups: Groups, body: (rows: Uint32Array, e: number) => Promise<undefined>): Promise<unknown> {
  return Promise.all(groups.flatMap((group, e) => segmentsOf(group).map((rows) => body(rows, e))))
}
