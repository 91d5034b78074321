import { quantile } from '../entangle/ranking.ts'
import type { ClusterRow, ClustersExperiment, Experiments, SubsetExperiment } from '../entangle/types.ts'
import type { Marks } from './draw.ts'
import { COLORS, draw, Plot } from './draw.ts'
import type { Figure } from './figure.ts'
import { namesOf } from './select.ts'
import { count, share, short, shown } from './text.ts'

/** What the rows of a subset experiment are called in text. */
export const CHOICE_NAMES = {
  wd: 'largest WD',
  mean: 'largest |mean|',
  variance: 'largest variance',
  weight: 'largest |w|',
  random: 'random',
} as const

/** The figures of the experiments that were run. */
export function experimentFigures({ clusters, subset }: Experiments): Figure[] {
  return [...(clusters ? [improvement(clusters), disentangled(clusters)] : []), ...(subset ? [quality(subset)] : [])]
}

/** Medians of one measure of a clusters experiment, for one matrix: one line per group of neurons and grouping. */
export function medians(
  { rows }: ClustersExperiment,
  measure: 'ri' | 'expertWd' | 'prunedWd',
): { matrix: string; group: ClusterRow['group']; grouping: ClusterRow['grouping']; experts: number; value: number }[] {
  const lines = new Map<string, ClusterRow[]>()
  for (const row of rows) {
    const key = [row.matrix, row.group, row.grouping, row.experts].join()
    const list = lines.get(key)
    if (list) list.push(row)
    else lines.set(key, [row])
  }
  return [...lines.values()].map((list) => {
    const { matrix, group, grouping, experts } = list[0]!
    const value = quantile(
      list.map((row) => row[measure]),
      0.5,
    )
    return { matrix, group, grouping, experts, value }
  })
}

function improvement(clusters: ClustersExperiment): Figure {
  return linesFigure(clusters, 'ri', {
    id: 'clusters-ri',
    title: 'More experts, smaller errors?',
    label: 'RI',
    caption: `Relative improvement (RI) over one expert in layer ${clusters.layer} at ${share(clusters.sparsity)} zeros, median neuron: Wasserstein neurons (thick, coloured) and as many others (thin, grey), with tokens clustered (solid) or in random groups of the same sizes (dashed). What random groups gain is gained by having more weights; the rest is what clustering does.`,
  })
}

function disentangled(clusters: ClustersExperiment): Figure {
  return linesFigure(clusters, 'expertWd', {
    id: 'clusters-wd',
    title: 'More experts, less entanglement?',
    label: 'WD',
    caption: `WD of the same neurons on the tokens of each expert, weighted by their share, for 1 to 16 experts. Random groups (dashed) show what splitting alone does; in small groups WD also rises because few tokens look less like a normal distribution.`,
  })
}

function linesFigure(
  clusters: ClustersExperiment,
  measure: 'ri' | 'expertWd',
  { label, ...texts }: Pick<Figure, 'id' | 'title' | 'caption'> & { readonly label: string },
): Figure {
  const data = medians(clusters, measure)
  return {
    ...texts,
    panels: namesOf(clusters.rows).map((matrix) => ({
      title: short(matrix),
      svg: draw(
        `${label} of ${short(matrix)} neurons by number of experts`,
        {
          x: { type: 'point', label: 'experts' },
          y: { label, grid: true, ...(measure === 'expertWd' ? { zero: true } : {}) },
        },
        data.length === 0
          ? []
          : linesOf(
              data.filter((line) => line.matrix === matrix),
              COLORS[matrix],
            ),
      ),
    })),
    titles: ['experts', 'grouping', 'matrix', 'group', 'median'],
    rows: data.map((d) => [d.experts, d.grouping, d.matrix, d.group, d.value]),
  }
}

function linesOf(data: ReturnType<typeof medians>, color: string): Marks {
  return (['other', 'wasserstein'] as const).flatMap((group) =>
    (['random', 'clusters'] as const).map((grouping) =>
      Plot.lineY(
        data.filter((line) => line.group === group && line.grouping === grouping),
        {
          x: 'experts',
          y: 'value',
          stroke: group === 'wasserstein' ? color : COLORS.faint,
          strokeWidth: group === 'wasserstein' ? 2.5 : 1.5,
          ...(grouping === 'random' ? { strokeDasharray: '4 3' } : { marker: 'dot' as const }),
        },
      ),
    ),
  )
}

function quality(subset: SubsetExperiment): Figure {
  const { rows, densePerplexity, denseStandardError, targets, top } = subset
  const levels = [...new Set(rows.map(({ sparsity }) => sparsity))].sort((a, b) => a - b)
  const data = rows.map((row) => ({
    ...row,
    name: CHOICE_NAMES[row.choice],
    opacity: (levels.indexOf(row.sparsity) + 1) / levels.length,
  }))
  const panel = (title: string, measure: 'perplexity' | 'kl', more: Marks): { title: string; svg: string } => ({
    title,
    svg: draw(
      `${title} by choice of the pruned rows`,
      {
        x: {
          label: measure === 'kl' ? 'KL (nats)' : 'perplexity',
          type: 'log',
          grid: true,
          ticks: 4,
          tickFormat: '~g',
        },
        // A row for each choice, the most harmful on top: labels at the ends of lines would lie on each other.
        y: { label: null, domain: byHarm(rows).map((choice) => CHOICE_NAMES[choice]) },
        marginLeft: 110,
        insetLeft: 10,
      },
      [
        ...more,
        Plot.dot(data, {
          x: measure,
          y: 'name',
          r: 6,
          fill: COLORS.strong,
          fillOpacity: 'opacity',
          stroke: COLORS.strong,
        }),
      ],
    ),
  })
  return {
    id: 'subset',
    title: 'Which neurons hurt when pruned',
    caption: `Only ${share(top)} of the rows of gate, up and down of every layer are pruned, chosen by different measures; all other weights stay dense. Dots from light to dark: ${levels.map(share).join(', ')} zeros in those rows. Perplexity over ${count(targets)} tokens (dense ${shown(densePerplexity)} ± ${shown(denseStandardError)}, line) and KL to the dense model, which is the sharper of the two because every choice sees the same tokens.`,
    panels: [
      panel('Perplexity', 'perplexity', [Plot.ruleX([densePerplexity], { stroke: COLORS.faint })]),
      panel('KL to dense', 'kl', []),
    ],
    titles: ['choice', 'zeros', 'perplexity', 'standard_error', 'kl'],
    rows: rows.map((row) => [row.choice, row.sparsity, row.perplexity, row.standardError, row.kl]),
  }
}

/** Choices from the largest KL at the most zeros down. */
function byHarm(rows: SubsetExperiment['rows']): SubsetExperiment['rows'][number]['choice'][] {
  const most = Math.max(...rows.map(({ sparsity }) => sparsity))
  return rows
    .filter(({ sparsity }) => sparsity === most)
    .sort((a, b) => b.kl - a.kl)
    .map(({ choice }) => choice)
}
