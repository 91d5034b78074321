import type { Experiments, MatrixReport } from '../../entangle/types.ts'
import { UsageError } from '../../errors.ts'
import type { OpenedModel } from '../../model/open.ts'
import { createBlas } from '../../runtime/blas.ts'
import { evaluationText } from '../text.ts'
import { clustersExperiment } from './clusters.ts'
import type { EntangleOptions } from './options.ts'
import type { BegunRun } from './run.ts'
import { subsetExperiment } from './subset.ts'

/** Experiments that go along with a measurement, layer by layer. */
export type ExperimentsRun = {
  /** Hears of every layer while its FF inputs are in the measurement. */
  layer(layer: number, matrices: readonly MatrixReport[]): Promise<void>
  /** What was found; undefined when nothing was asked for. */
  finish(): Promise<Experiments | undefined>
}

const SUBSET_SPARSITIES = [0.5, 0.8, 0.95]
const CLUSTERS_SPARSITY = 0.7
/** The layer of the paper's figure. */
const CLUSTERS_LAYER = 1

/** Begins the experiments that the options ask for. Throws UsageError for options that cannot be meant. */
export async function beginExperiments(
  { run }: BegunRun,
  model: OpenedModel,
  options: EntangleOptions & { readonly top: number; readonly threads: number },
): Promise<ExperimentsRun> {
  const { experiments = [], sparsities, top, threads } = options
  const wanted = { ...run, model, threads }
  const target = options.layer ?? Math.min(CLUSTERS_LAYER, model.config.layers - 1)
  const subset = experiments.includes('subset')
    ? await subsetExperiment(
        wanted,
        await evaluationText(model.folder, {
          ...(options.evalText ? { text: options.evalText } : {}),
          windows: options.windows ?? 32,
          sequenceLength: run.sequenceLength,
        }),
        { top, sparsities: sparsities ?? SUBSET_SPARSITIES },
      )
    : undefined
  let clusters: Experiments['clusters']
  return {
    async layer(layer, matrices) {
      if (experiments.includes('clusters') && layer === target)
        clusters = await clustersExperiment(
          { ...wanted, blas: await createBlas(1) },
          layer,
          matrices,
          sparsities?.[0] ?? CLUSTERS_SPARSITY,
        )
      await subset?.layer(layer, matrices)
    },
    async finish() {
      if (experiments.length === 0) return undefined
      return { ...(clusters ? { clusters } : {}), ...(subset ? { subset: await subset.finish() } : {}) }
    },
  }
}

/** Throws UsageError before anything is measured. */
export function checkExperiments(options: EntangleOptions, layers: number): void {
  const { experiments = [], layer, sparsities, windows, evalText } = options
  const has = (name: (typeof experiments)[number]): boolean => experiments.includes(name)
  if (layer !== undefined && !has('clusters')) throw new UsageError('--layer belongs to --experiment clusters')
  if ((windows !== undefined || evalText !== undefined) && !has('subset'))
    throw new UsageError('--windows and --eval-text belong to --experiment subset')
  if (sparsities !== undefined && experiments.length === 0)
    throw new UsageError('--sparsity belongs to --experiment clusters or subset')
  if (layer !== undefined && !(Number.isInteger(layer) && layer >= 0 && layer < layers))
    throw new UsageError(`--layer ${layer} is out of range: wanted 0 to ${layers - 1}`)
  for (const sparsity of sparsities ?? [])
    if (!(sparsity > 0 && sparsity < 1))
      throw new UsageError(`--sparsity ${sparsity} is out of range: wanted a share of zeros in (0, 1), e.g. 0.8`)
}
