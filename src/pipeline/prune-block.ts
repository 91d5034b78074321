import type { Run } from './block.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import type { MatrixName, PackedFfn, SolveResult } from './jobs.ts'
import { packedFront } from './jobs.ts'
import { limiter } from './limiter.ts'
import type { SideResult } from './prune-side.ts'
import { PruneSide } from './prune-side.ts'
import type { RowStore } from './rowstore.ts'
import type { Groups } from './segments.ts'
import { segmentsOf } from './segments.ts'
import type { Fallback } from './types.ts'

/** The result of pruning: per matrix one entry per expert, and the one-expert baseline. */
export type Pruned = {
  readonly experts: readonly SideResult[]
  readonly baseline: SideResult
  readonly fallbacks: readonly Fallback[]
}

/** Prunes gate, up and down of every expert by one router, and adds the pruned outputs to the hidden states. */
export async function pruneShared(run: Run, layer: number, groups: Groups): Promise<Pruned> {
  const front = new PruneSide(run, layer, groups, 'inputs')
  const back = new PruneSide(run, layer, groups, 'intermediates')
  const experts = await eachExpert(run, layer, groups, async (e) => {
    const frontReady = front.expert(e)
    const backReady = run.options.trueSequential ? afterFront(frontReady, back, e) : back.expert(e)
    const result = { ...(await frontReady), ...(await backReady) }
    await propagate(run, layer, groups[e]!, result)
    return result
  })
  const baseline =
    groups.length === 1 ? experts[0]! : Object.assign({}, ...(await Promise.all([front.baseline(), back.baseline()])))
  return { experts, baseline, fallbacks: fallbacksOf(layer, groups, experts) }
}

/** Prunes gate and up only (the split router prunes down by another grouping). */
export async function pruneFront(run: Run, layer: number, groups: Groups): Promise<Pruned> {
  const side = new PruneSide(run, layer, groups, 'inputs')
  const experts = await eachExpert(run, layer, groups, (e) => side.expert(e))
  return { experts, baseline: await side.baseline(), fallbacks: fallbacksOf(layer, groups, experts) }
}

/** Prunes down by its own grouping and adds its outputs on the stored intermediates to the hidden states. */
export async function pruneBack(run: Run, layer: number, groups: Groups, intermediates: RowStore): Promise<Pruned> {
  const stored = run.options.trueSequential ? intermediates : undefined
  const side = new PruneSide(run, layer, groups, 'intermediates', stored)
  const experts = await eachExpert(run, layer, groups, async (e) => {
    const result = await side.expert(e)
    const { hidden } = run
    const down = result.down_proj!.packed!
    await Promise.all(
      segmentsOf(groups[e]!).map((rows) =>
        run.runner.run({
          kind: 'propagateDown',
          layer,
          rows,
          intermediates: intermediates.ref,
          hidden: hidden.ref,
          down,
        }),
      ),
    )
    return result
  })
  return { experts, baseline: await side.baseline(), fallbacks: fallbacksOf(layer, groups, experts) }
}

async function afterFront(front: Promise<SideResult>, back: PruneSide, e: number): Promise<SideResult> {
  return back.expert(e, packedFront(packedOf(await front)))
}

/** The matrices of a result that were kept. */
export function packedOf(result: SideResult): Partial<Record<MatrixName, PackedExpert>> {
  const kept = Object.entries(result).flatMap(([matrix, { packed }]) => (packed ? [[matrix, packed] as const] : []))
  return Object.fromEntries(kept)
}

async function propagate(run: Run, layer: number, group: Uint32Array, result: SideResult): Promise<void> {
  const packed = packedOf(result)
  const ffn: PackedFfn = { ...packedFront(packed), down: packed.down_proj! }
  await Promise.all(
    segmentsOf(group).map((rows) =>
      run.runner.run({ kind: 'propagate', layer, rows, ffnIn: run.ffnIn.ref, hidden: run.hidden.ref, ffn }),
    ),
  )
}

/** Largest clusters first (they take longest, empty ones need the sum of all others), few enough for the memory. */
async function eachExpert(
  run: Run,
  layer: number,
  groups: Groups,
  body: (e: number) => Promise<SideResult>,
): Promise<SideResult[]> {
  const { layers } = run.model.config
  const order = groups.map((_, e) => e).sort((a, b) => groups[b]!.length - groups[a]!.length || a - b)
  const atOnce = limiter(run.memory.expertsAtOnce)
  const results: SideResult[] = groups.map(() => ({}))
  let done = 0
  await Promise.all(
    order.map((e) =>
      atOnce(async () => {
        results[e] = await body(e)
        run.options.onProgress?.({ stage: 'solve', done: ++done, total: groups.length, block: layer, blocks: layers })
      }),
    ),
  )
  return results
}

function fallbacksOf(layer: number, groups: Groups, experts: readonly SideResult[]): Fallback[] {
  const list: Fallback[] = []
  experts.forEach((result, e) => {
    const where = (matrix: string): string => `layer ${layer} ${matrix} expert ${e}`
    if (groups[e]!.length === 0)
      list.push({
        where: where(Object.keys(result).join(' and ')),
        what: 'pruned with the statistics of all tokens',
        because: 'no calibration token was routed to it',
      })
    for (const [matrix, solved] of Object.entries(result) as [MatrixName, SolveResult][]) {
      if (solved.factorizations > 1)
        list.push({
          where: where(matrix),
          what: `damping raised to ${solved.damping}`,
          because: `${solved.factorizations - 1} factorisations failed`,
        })
      if (solved.underflows > 0)
        list.push({
          where: where(matrix),
          what: `${solved.underflows} kept weights stored as 0`,
          because: 'smaller than f16 can hold',
        })
    }
  })
  return list
}
