import { fitRouter } from '../../cluster/router.ts'
import { relativeImprovement, weightedMean } from '../../entangle/ranking.ts'
import type { ClusterRow, ClustersExperiment, MatrixReport } from '../../entangle/types.ts'
import { standardDeviation, wasserstein1, wassersteinToNormal } from '../../entangle/wasserstein.ts'
import { createRng, sample } from '../../linalg/rng.ts'
import { unpackExpert } from '../../mixture/expert.ts'
import type { OpenedModel } from '../../model/open.ts'
import type { Blas } from '../../tensor/blas.ts'
import type { MatrixName, PackedFfn } from '../jobs.ts'
import { matricesOf, ROLES } from '../jobs.ts'
import { limiter } from '../limiter.ts'
import type { Groups } from '../segments.ts'
import { groupsOf, segmentsOf } from '../segments.ts'
import { randomGroups } from './expansion.ts'
import type { Measurement } from './layer.ts'
import { all } from './layer.ts'
import { solveExpert } from './solve-expert.ts'

/** Experts of the runs that are compared, as in the paper's figure. */
const COUNTS = [1, 2, 4, 8, 16]
/** Neurons of each group and matrix; their outputs over all tokens are in memory. */
const PER_GROUP = 16

type Chosen = { readonly matrix: MatrixName; readonly neuron: number; readonly group: ClusterRow['group'] }

/** Outputs of the chosen neurons, one array over all tokens each. */
type OutputsOf = readonly Float32Array[]

/**
 * One layer as a mixture of 1, 2, 4, 8 and 16 experts on its FF inputs, and as many experts on random groups of the same
 * sizes: RI, WD by expert and W₁(pruned, dense) of its Wasserstein neurons and of as many others, all exact.
 */
export async function clustersExperiment(
  run: Measurement & { readonly model: OpenedModel; readonly blas: Blas; readonly threads: number },
  layer: number,
  matrices: readonly MatrixReport[],
  sparsity: number,
): Promise<ClustersExperiment> {
  const chosen = chooseNeurons(matrices, run.seed)
  const rows = run.ffnIn.ref.rows
  const dense = await outputsOf(run, layer, chosen, all(rows), (matrix) => denseOf(run.model, matrix, layer))
  const measured = async (groups: Groups): Promise<{ rmse: Float64Array; wd: number[]; prunedWd: number[] }> => {
    const pruned = await prunedOutputs(run, layer, chosen, groups, sparsity)
    return {
      rmse: Float64Array.from(dense, (y, i) => rootMeanSquare(y, pruned[i]!)),
      wd: dense.map((y) => wdByGroup(y, groups)),
      prunedWd: dense.map((y, i) => wasserstein1(pruned[i]!, y) / standardDeviation(y)),
    }
  }
  const one = await measured([all(rows)])
  const table: ClusterRow[] = []
  for (const experts of COUNTS.filter((count) => count <= rows)) {
    const groups = experts === 1 ? [all(rows)] : await clustersOf(run, layer, experts)
    const random = experts === 1 ? groups : randomGroups(groups, rows, run.seed + layer)
    for (const [grouping, own] of [
      ['clusters', groups],
      ['random', random],
    ] as const) {
      const { rmse, wd, prunedWd } = experts === 1 ? one : await measured(own)
      const ri = relativeImprovement(one.rmse, rmse)
      chosen.forEach(({ matrix, neuron, group }, i) =>
        table.push({ experts, grouping, matrix, neuron, group, ri: ri[i]!, expertWd: wd[i]!, prunedWd: prunedWd[i]! }),
      )
    }
  }
  return { layer, sparsity, rows: table }
}

/** The most entangled neurons of every matrix, and as many of those that are not Wasserstein neurons, at random. */
function chooseNeurons(matrices: readonly MatrixReport[], seed: number): Chosen[] {
  return matrices.flatMap(({ layer, matrix, wd, wasserstein }) => {
    const marked = new Set(wasserstein)
    const top = wasserstein.slice(0, PER_GROUP)
    const rest = [...wd.keys()].filter((neuron) => !marked.has(neuron) && Number.isFinite(wd[neuron]!))
    const others = [...sample(rest.length, top.length, createRng(seed + layer))].map((i) => rest[i]!)
    return [
      ...top.map((neuron): Chosen => ({ matrix, neuron, group: 'wasserstein' })),
      ...others.map((neuron): Chosen => ({ matrix, neuron, group: 'other' })),
    ]
  })
}

async function clustersOf(
  { ffnIn, seed, blas }: Measurement & { readonly blas: Blas },
  layer: number,
  experts: number,
): Promise<Groups> {
  const { rows, cols } = ffnIn.ref
  const chunk = (start: number, end: number): Float32Array => {
    const X = new Float32Array((end - start) * cols)
    ffnIn.read(start, X)
    return X
  }
  const name = `layer ${layer}`
  const { labels } = await fitRouter({ rows, dim: cols, chunk, experts, blas, seed: seed + layer, name })
  return groupsOf(labels, experts)
}

/** Outputs of the chosen neurons over all tokens, each token by the expert that was pruned on its group. */
async function prunedOutputs(
  run: Measurement & { readonly model: OpenedModel; readonly threads: number },
  layer: number,
  chosen: readonly Chosen[],
  groups: Groups,
  sparsity: number,
): Promise<OutputsOf> {
  const pruned = chosen.map(() => new Float32Array(run.ffnIn.ref.rows))
  const atOnce = limiter(run.threads)
  await Promise.all(
    groups
      .filter((group) => group.length > 0)
      .map((group, e) =>
        atOnce(async () => {
          const ffn = await solveExpert(run, layer, group, {
            pattern: { kind: 'unstructured', sparsity },
            label: `expert ${e} of ${groups.length}`,
          })
          const weights = unpacked(ffn, run.model)
          const own = await outputsOf(run, layer, chosen, group, (matrix) => weights[matrix]!)
          own.forEach((y, i) => group.forEach((row, t) => (pruned[i]![row] = y[t]!)))
        }),
      ),
  )
  return pruned
}

function unpacked({ gate, up, down }: PackedFfn, { config }: OpenedModel): Partial<Record<MatrixName, Float32Array>> {
  const { hidden, ff } = config
  return {
    ...(gate ? { gate_proj: unpackExpert(gate, ff, hidden) } : {}),
    up_proj: unpackExpert(up, ff, hidden),
    down_proj: unpackExpert(down, hidden, ff),
  }
}

function denseOf(model: OpenedModel, matrix: MatrixName, layer: number): Float32Array {
  return model.matrix(ROLES[matrix], layer)
}

/** Outputs of the chosen rows of some matrices on some tokens; rows of down see the dense intermediates. */
async function outputsOf(
  { runner, ffnIn, model }: Measurement & { readonly model: OpenedModel },
  layer: number,
  chosen: readonly Chosen[],
  rows: Uint32Array,
  matrixOf: (matrix: MatrixName) => Float32Array,
): Promise<OutputsOf> {
  const { hidden, ff } = model.config
  const side = (matrices: readonly MatrixName[], inputs: number): Float32Array => {
    const parts = matrices.map((matrix) => {
      const W = matrixOf(matrix)
      return chosen
        .filter((one) => one.matrix === matrix)
        .map(({ neuron }) => W.subarray(neuron * inputs, (neuron + 1) * inputs))
    })
    const list = parts.flat()
    const packed = new Float32Array(list.length * inputs)
    list.forEach((row, i) => packed.set(row, i * inputs))
    return packed
  }
  const front = side(matricesOf(model.config).slice(0, -1), hidden)
  const back = side(['down_proj'], ff)
  const outputs = chosen.map(() => new Float32Array(rows.length))
  let at = 0
  for (const segment of segmentsOf(rows)) {
    const job = { kind: 'neuronOutputs', layer, rows: segment, ffnIn: ffnIn.ref, front, back } as const
    const part = await runner.run(job)
    const fronts = part.front.length / segment.length
    outputs.forEach((y, i) => {
      const [from, j] = i < fronts ? [part.front, i] : [part.back, i - fronts]
      y.set(from.subarray(j * segment.length, (j + 1) * segment.length), at)
    })
    at += segment.length
  }
  return outputs
}

function wdByGroup(y: Float32Array, groups: Groups): number {
  return weightedMean(
    groups.map((group) => wassersteinToNormal(Float32Array.from(group, (row) => y[row]!))),
    groups.map((group) => group.length),
  )
}

function rootMeanSquare(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return Math.sqrt(sum / a.length)
}
