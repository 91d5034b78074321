import { POWERS } from '../../entangle/histogram.ts'
import { weightedMean } from '../../entangle/ranking.ts'
import { createRng, shuffle } from '../../linalg/rng.ts'
import type { DistanceResult, Placements } from './jobs.ts'
import type { Measurement } from './layer.ts'
import { addSums, all, distancesOf, mappingOf, placementsOf } from './layer.ts'
import type { PackedFfn } from '../jobs.ts'
import type { Groups } from '../segments.ts'
import { segmentsOf } from '../segments.ts'

/** Histograms of an expansion: those of Measurement are for the experts' dense outputs, one job each. */
export type ExpansionSlots = {
  /** Dense outputs of all tokens. */
  readonly total: SharedArrayBuffer
  /** Outputs of the mixture and of the baseline, one for each slot of the measurement. */
  readonly mixture: readonly SharedArrayBuffer[]
  readonly baseline: readonly SharedArrayBuffer[]
}

/** Columns over all neurons of one layer. */
export type ExpansionColumns = DistanceResult & {
  readonly md: Float64Array
  readonly expertWd: Float64Array
  readonly expertMd: Float64Array
  readonly randomWd: Float64Array
  /** Largest bound of the distances by expert, weighted as they are. */
  readonly expertBound: number
  /** Σ (pruned − dense)² over all tokens: mixture, baseline. */
  readonly squaredErrors: readonly [Float64Array, Float64Array]
  /** The same of the mixture, and Σ dense², by expert. */
  readonly perExpert: readonly { readonly squaredErrors: Float64Array; readonly squares: Float64Array }[]
}

/** MD of an expert needs fewer pairs than that of all tokens: experts are averaged. */
const EXPERT_PAIRS_SHARE = 4

/** Measures one layer of an artifact: over all tokens, on the tokens of each expert, and on random groups. */
export async function measureExpansion(
  run: Measurement,
  layer: number,
  groups: Groups,
  ffns: readonly PackedFfn[],
  baseline: PackedFfn,
  slots: ExpansionSlots,
): Promise<ExpansionColumns> {
  const rows = run.ffnIn.ref.rows
  const placements = await placementsOf(run, layer)
  const md = mappingOf(run, layer, all(rows), layer)
  const few = { ...run, pairs: Math.max(1, Math.floor(run.pairs / EXPERT_PAIRS_SHARE)) }
  const expertMds = groups.map((group, e) => mappingOf(few, layer, group, 1000 * (layer + 1) + e))
  const experts = await countGroups(run, layer, groups, placements, slots.total, (e, slot) => [
    { ffn: ffns[e]!, counts: slots.mixture[slot]! },
    { ffn: baseline, counts: slots.baseline[slot]! },
  ])
  const sums = addSums(experts.map((expert) => expert.sums))
  const whole = await distancesOf({ ...run, slots: [slots.total] }, sums, rows, placements, {
    prunedSlots: [slots.mixture, slots.baseline],
  })
  const random = await countGroups(run, layer, randomGroups(groups, rows, run.seed + layer), placements)
  const shares = groups.map((group) => group.length)
  const weighted = (columns: readonly Float64Array[]): Float64Array =>
    Float64Array.from({ length: run.neurons }, (_, j) =>
      weightedMean(
        columns.map((column) => column[j]!),
        shares,
      ),
    )
  return {
    ...whole,
    md: await md,
    expertWd: weighted(experts.map(({ distances }) => distances.wd)),
    expertMd: weighted(await Promise.all(expertMds)),
    randomWd: weighted(random.map(({ distances }) => distances.wd)),
    expertBound: weighted(experts.map(({ distances }) => distances.bound)).reduce((a, b) => Math.max(a, b), 0),
    squaredErrors: [
      addSums(experts.map((expert) => expert.squaredErrors[0]!)),
      addSums(experts.map((expert) => expert.squaredErrors[1]!)),
    ],
    perExpert: experts.map((expert, e) => ({
      squaredErrors: expert.squaredErrors[0]!,
      squares: squaresOf(expert.sums, placements, shares[e]!),
    })),
  }
}

/** Σ y² of every neuron over n outputs, from the power sums of z. */
export function squaresOf(sums: Float64Array, { centre, scale }: Placements, n: number): Float64Array {
  return centre.map((c, j) => {
    const s = scale[j]!
    return n * c * c + 2 * c * s * sums[j * POWERS]! + s * s * sums[j * POWERS + 1]!
  })
}

type GroupCounts = { sums: Float64Array; squaredErrors: Float64Array[]; distances: DistanceResult }

/** Distances of the dense outputs on each group of tokens; the counts of all groups are added to `total`. */
async function countGroups(
  run: Measurement,
  layer: number,
  groups: Groups,
  placements: Placements,
  total?: SharedArrayBuffer,
  pruned?: (e: number, slot: number) => { ffn: PackedFfn; counts: SharedArrayBuffer }[],
): Promise<GroupCounts[]> {
  const results: GroupCounts[] = []
  // Largest groups first: they take longest. One group at a time in each slot, and one at a time adds to the total.
  const waiting = groups.map((_, e) => e).sort((a, b) => groups[b]!.length - groups[a]!.length || a - b)
  let adding: Promise<unknown> = Promise.resolve()
  const work = async (slot: number): Promise<void> => {
    const counts = run.slots[slot]!
    for (let e = waiting.shift(); e !== undefined; e = waiting.shift()) {
      const variants = pruned?.(e, slot)
      const parts: { sums: Float64Array; squaredErrors: readonly Float64Array[] }[] = []
      for (const rows of segmentsOf(groups[e]!))
        parts.push(
          await run.runner.run({
            kind: 'measure',
            layer,
            rows,
            ffnIn: run.ffnIn.ref,
            placements,
            counts,
            ...(variants ? { pruned: variants } : {}),
          }),
        )
      const sums = addSums([new Float64Array(run.neurons * POWERS), ...parts.map((part) => part.sums)])
      const zeros = new Float64Array(run.neurons)
      const squaredErrors = (variants ?? []).map((_, v) =>
        addSums([zeros, ...parts.map((part) => part.squaredErrors[v]!)]),
      )
      const finish = (): Promise<DistanceResult> =>
        distancesOf({ ...run, slots: [counts] }, sums, groups[e]!.length, placements, total ? { addTo: total } : {})
      const distances = total ? adding.then(finish) : finish()
      adding = distances
      results[e] = { sums, squaredErrors, distances: await distances }
    }
  }
  await Promise.all(run.slots.map((_, slot) => work(slot)))
  return results
}

/** All rows in groups of the same sizes, at random. */
export function randomGroups(groups: Groups, rows: number, seed: number): Groups {
  const order = Array.from({ length: rows }, (_, i) => i)
  shuffle(order, createRng(seed))
  let at = 0
  return groups.map((group) => Uint32Array.from(order.slice(at, (at += group.length))).sort())
}
