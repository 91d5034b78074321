import type { Windows } from '../../../calibration/windows.ts'
import { descending } from '../../entangle/ranking.ts'
import type { MatrixReport, NeuronChoice, SubsetExperiment, SubsetRow } from '../../entangle/types.ts'
import { createRng, sample } from '../../linalg/rng.ts'
import type { OpenedModel } from '../../model/open.ts'
import { embedAll, runAttention } from '../block.ts'
import { limiter } from '../limiter.ts'
import { openTailScorer } from '../predict/score.ts'
import { RowStore } from '../rowstore.ts'
import { segmentsOf } from '../segments.ts'
import type { RowPatch, RowSubset } from './experiment-jobs.ts'
import { gramOf } from './gram.ts'
import type { Measurement } from './layer.ts'
import { all } from './layer.ts'

const CHOICES: readonly NeuronChoice[] = ['wd', 'mean', 'variance', 'weight', 'random']

/** One way to choose and prune neurons, and the hidden states of the evaluation text in that model. */
type Variant = { readonly choice?: NeuronChoice; readonly sparsity: number; readonly hidden: RowStore }

export type SubsetRun = {
  /** Prunes the chosen neurons of a layer whose FF inputs are in the measurement, and takes every variant through it. */
  layer(layer: number, matrices: readonly MatrixReport[]): Promise<void>
  /** Perplexities of all variants, after the last layer. */
  finish(): Promise<SubsetExperiment>
}

/**
 * The paper's experiment on single neurons: only the rows of Wasserstein neurons of gate, up and down of every layer are
 * pruned by SparseGPT, or as many rows chosen by another measure, and all others stay dense. H is that of the dense model.
 */
export async function subsetExperiment(
  run: Measurement & { readonly model: OpenedModel; readonly threads: number },
  windows: Windows,
  options: { readonly top: number; readonly sparsities: readonly number[] },
): Promise<SubsetRun> {
  const { hidden: d } = run.model.config
  const { nWindows, sequenceLength } = windows
  const rows = windows.ids.length
  const create = (): RowStore => RowStore.create(rows, d)
  const dense: Variant = { sparsity: 0, hidden: create() }
  await embedAll({ runner: run.runner, hidden: dense.hidden, sequenceLength }, windows.ids)
  const embedded = contentOf(dense.hidden)
  const variants = options.sparsities.flatMap((sparsity) =>
    CHOICES.map((choice): Variant => ({ choice, sparsity, hidden: create() })),
  )
  for (const { hidden } of variants) hidden.write(0, embedded)
  const atOnce = limiter(run.threads)
  const inputs = Array.from({ length: run.threads }, create)
  return {
    async layer(layer, matrices) {
      const patches = await patchesOf(run, layer, subsetsOf(matrices, variants, run.seed))
      const through = async ({ hidden }: Variant, own: readonly RowPatch[]): Promise<void> => {
        const ffnIn = inputs.pop()!
        await runAttention({ runner: run.runner, hidden, ffnIn, nWindows, sequenceLength }, layer)
        for (const segment of segmentsOf(all(rows)))
          await run.runner.run({
            kind: 'patchedFfn',
            layer,
            rows: segment,
            ffnIn: ffnIn.ref,
            hidden: hidden.ref,
            patches: own,
          })
        inputs.push(ffnIn)
      }
      await Promise.all([dense, ...variants].map((one, i) => atOnce(() => through(one, i > 0 ? patches[i - 1]! : []))))
    },
    async finish() {
      const scorer = await openTailScorer(run.model, windows, 0, run.threads)
      try {
        const reference = contentOf(dense.hidden)
        const { perplexity, standardError, targets } = await scorer.quality(reference, reference)
        const table: SubsetRow[] = []
        for (const { choice, sparsity, hidden } of variants) {
          const quality = await scorer.quality(contentOf(hidden), reference)
          table.push({
            choice: choice!,
            sparsity,
            perplexity: quality.perplexity,
            standardError: quality.standardError,
            kl: quality.kl!,
          })
        }
        const { top } = options
        return { top, densePerplexity: perplexity, denseStandardError: standardError, targets, rows: table }
      } finally {
        await scorer.release()
      }
    },
  }
}

function contentOf(store: RowStore): Float32Array {
  const values = new Float32Array(store.ref.rows * store.ref.cols)
  store.read(0, values)
  return values
}

/** For every variant the rows of gate, up and down that it prunes: as many as there are Wasserstein neurons. */
function subsetsOf(matrices: readonly MatrixReport[], variants: readonly Variant[], seed: number): RowSubset[][] {
  return variants.map(({ choice, sparsity }) =>
    matrices.map((report, i) => {
      const stream = seed + 1_000_003 * (3 * report.layer + i)
      return { matrix: report.matrix, neurons: neuronsOf(report, choice!, stream), sparsity }
    }),
  )
}

function neuronsOf(report: MatrixReport, choice: NeuronChoice, seed: number): Uint32Array {
  const count = report.wasserstein.length
  switch (choice) {
    case 'wd':
      return Uint32Array.from(report.wasserstein)
    case 'mean':
      return Uint32Array.from(descending(report.mean.map(Math.abs)).slice(0, count))
    case 'variance':
      return Uint32Array.from(descending(report.variance).slice(0, count))
    case 'weight':
      return Uint32Array.from(descending(report.weight).slice(0, count))
    case 'random':
      return Uint32Array.from(sample(report.wd.length, count, createRng(seed)))
  }
}

/** What the subsets of each variant become: one factorisation for gate and up, one for down. */
async function patchesOf(
  run: Measurement,
  layer: number,
  subsets: readonly (readonly RowSubset[])[],
): Promise<RowPatch[][]> {
  const tokens = run.ffnIn.ref.rows
  const side = async (source: 'inputs' | 'intermediates'): Promise<RowPatch[][]> => {
    const own = subsets.map((list) =>
      list.filter(
        ({ matrix, neurons }) => neurons.length > 0 && (matrix === 'down_proj') === (source === 'intermediates'),
      ),
    )
    const sum = await gramOf(run, layer, all(tokens), source)
    const weights = await run.runner.run({ kind: 'pruneRows', layer, sum, tokens, subsets: own.flat() })
    let at = 0
    return own.map((list) => list.map(({ matrix, neurons }) => ({ matrix, neurons, weights: weights[at++]! })))
  }
  const [front, back] = await Promise.all([side('inputs'), side('intermediates')])
  return front.map((list, v) => [...list, ...back[v]!])
}
