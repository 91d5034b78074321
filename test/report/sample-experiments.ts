import type { Experiments } from '../../src/entangle/types.ts'

/** Both experiments: in gate, clustering helps entangled neurons; in up, nothing helps; pruning WD neurons hurts least. */
export function sampleExperiments(): Experiments {
  const rows = [1, 2, 16].flatMap((experts) =>
    (['clusters', 'random'] as const).flatMap((grouping) =>
      (['gate_proj', 'up_proj', 'down_proj'] as const).flatMap((matrix) =>
        (['wasserstein', 'other'] as const).flatMap((group) =>
          [3, 5, 8].map((neuron) => {
            const gains = matrix !== 'up_proj' && grouping === 'clusters'
            const gain = gains ? Math.log2(experts) * (group === 'wasserstein' ? 0.25 : 0.1) : 0
            return { experts, grouping, matrix, neuron, group, ri: 1 + gain, expertWd: 0.4 - gain / 10, prunedWd: 0.1 }
          }),
        ),
      ),
    ),
  )
  return {
    clusters: { layer: 1, sparsity: 0.7, rows },
    subset: {
      top: 0.03,
      densePerplexity: 20,
      denseStandardError: 1.5,
      targets: 4080,
      rows: [0.5, 0.9].flatMap((sparsity) =>
        (['wd', 'mean', 'variance', 'weight', 'random'] as const).map((choice, i) => ({
          choice,
          sparsity,
          perplexity: 20 + i * sparsity,
          standardError: 1.5,
          kl: 0.01 * (i + 1) * sparsity,
        })),
      ),
    },
  }
}
