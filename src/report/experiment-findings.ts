import type { ClustersExperiment, Experiments, SubsetExperiment } from '../entangle/types.ts'
import { CHOICE_NAMES, medians } from './experiment-figures.ts'
import { namesOf } from './select.ts'
import { share, short, shown } from './text.ts'

/** What the experiments say, in plain words. */
export function experimentFindings({ clusters, subset }: Experiments): string[] {
  return [...(clusters ? [clustersFinding(clusters)] : []), ...(subset ? [subsetFinding(subset)] : [])]
}

function clustersFinding(clusters: ClustersExperiment): string {
  const most = Math.max(...clusters.rows.map(({ experts }) => experts))
  const ri = medians(clusters, 'ri').filter(({ experts }) => experts === most)
  const of = (matrix: string, group: string, grouping: string): string =>
    shown(ri.find((m) => m.matrix === matrix && m.group === group && m.grouping === grouping)?.value ?? NaN)
  const parts = namesOf(clusters.rows).map(
    (matrix) =>
      `${short(matrix)} ${of(matrix, 'wasserstein', 'clusters')} (other neurons ${of(matrix, 'other', 'clusters')}, random groups ${of(matrix, 'wasserstein', 'random')})`,
  )
  return `Layer ${clusters.layer} in ${most} experts at ${share(clusters.sparsity)} zeros: one expert has this many times the error of the mixture, median Wasserstein neuron: ${parts.join(', ')}.`
}

function subsetFinding({ rows, top, densePerplexity }: SubsetExperiment): string {
  const sparsest = Math.max(...rows.map(({ sparsity }) => sparsity))
  const last = rows.filter(({ sparsity }) => sparsity === sparsest).toSorted((a, b) => b.kl - a.kl)
  const rank = last.findIndex(({ choice }) => choice === 'wd')
  const verdict =
    rank === 0
      ? 'entangled neurons are the ones that hurt when pruned'
      : `pruning entangled neurons hurts less than pruning those of ${CHOICE_NAMES[last[0]!.choice]}`
  const list = last.map(
    ({ choice, perplexity, kl }) => `${CHOICE_NAMES[choice]} ${shown(perplexity)} (KL ${shown(kl)})`,
  )
  return `With only ${share(top)} of the rows pruned, to ${share(sparsest)} zeros, perplexity is ${list.join(', ')}; dense ${shown(densePerplexity)}: ${verdict}.`
}
