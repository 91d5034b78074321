import type { ClustersExperiment, EntangleFilesResult, EntangleReport, SubsetExperiment } from '../../src/index.ts'
import { count, digits, percent } from '../format.ts'
import { table } from '../table.ts'

const LEVELS = '▁▂▃▄▅▆▇█'
const MATRICES = ['gate_proj', 'up_proj', 'down_proj'] as const

/** What `entangle` prints: findings, one line a layer with its distribution, advice, where the report lies. */
export function entangleReport({ report, summary, files }: EntangleFilesResult): string {
  const sections = [
    summary.findings.join('\n'),
    layerTable(report),
    ...experimentTables(report.experiments),
    `Next:\n${summary.advice.map((line) => `  ${line}`).join('\n')}`,
    [...report.notes.map((note) => `Note: ${note}`), ...files.map((file) => `Wrote ${file}`)].join('\n'),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

/** Median and largest WD of every matrix, with a sparkline of how its neurons are spread from 0 to the largest WD of all. */
function layerTable(report: EntangleReport): string {
  const far = report.matrices.reduce((max, { wd }) => Math.max(max, ...wd.filter((value) => Number.isFinite(value))), 0)
  const names = MATRICES.filter((name) => report.matrices.some(({ matrix }) => matrix === name))
  const rows = Array.from({ length: report.shape.layers }, (_, layer) => [
    String(layer),
    ...names.flatMap((name) => {
      const { wd } = report.matrices.find((m) => m.layer === layer && m.matrix === name)!
      const sorted = wd.filter((value) => Number.isFinite(value)).toSorted((a, b) => a - b)
      return [digits(sorted[sorted.length >> 1] ?? NaN, 3), digits(sorted.at(-1) ?? NaN, 3), spread(sorted, far)]
    }),
  ])
  const heads = names.flatMap((name) => [
    { title: `${name.replace('_proj', '')}: median` },
    { title: 'max' },
    { title: 'spread', align: 'left' as const },
  ])
  return `WD by layer (spread: neurons from 0 to ${digits(far, 3)}, logarithmic)\n${table([{ title: 'layer' }, ...heads], rows)}`
}

/** Medians of the experiments: by number of experts, and by choice of the pruned rows. */
function experimentTables({ clusters, subset }: NonNullable<EntangleReport['experiments']> = {}): string[] {
  return [...(clusters ? [clustersTable(clusters)] : []), ...(subset ? [subsetTable(subset)] : [])]
}

function clustersTable({ layer, sparsity, rows }: ClustersExperiment): string {
  const counts = [...new Set(rows.map(({ experts }) => experts))]
  const lines = MATRICES.filter((name) => rows.some(({ matrix }) => matrix === name)).flatMap((matrix) =>
    (['wasserstein', 'other'] as const).flatMap((group) =>
      (['clusters', 'random'] as const).map((grouping) => {
        const cells = counts.flatMap((experts) => {
          const own = rows.filter(
            (row) =>
              row.experts === experts && row.matrix === matrix && row.group === group && row.grouping === grouping,
          )
          return [middle(own.map(({ ri }) => ri)), middle(own.map(({ expertWd }) => expertWd))]
        })
        return [matrix.replace('_proj', ''), group, grouping, ...cells]
      }),
    ),
  )
  const heads = [
    ...['matrix', 'neurons', 'tokens'].map((title) => ({ title, align: 'left' as const })),
    ...counts.flatMap((experts) => [{ title: `${experts}: RI` }, { title: 'WD' }]),
  ]
  return `Layer ${layer} in ${counts.join(', ')} experts at ${percent(sparsity)} zeros (medians)\n${table(heads, lines)}`
}

function middle(values: readonly number[]): string {
  const sorted = values.filter((value) => !Number.isNaN(value)).toSorted((a, b) => a - b)
  return digits(sorted[sorted.length >> 1] ?? NaN, 3)
}

function subsetTable({ top, densePerplexity, denseStandardError, targets, rows }: SubsetExperiment): string {
  const lines = rows.map((row) => [
    row.choice,
    percent(row.sparsity),
    `${digits(row.perplexity, 5)} ± ${digits(row.standardError, 2)}`,
    digits(row.kl, 3),
  ])
  const dense = ['(dense)', '-', `${digits(densePerplexity, 5)} ± ${digits(denseStandardError, 2)}`, '0']
  const heads = [
    { title: 'chosen by', align: 'left' as const },
    { title: 'zeros' },
    { title: 'perplexity' },
    { title: 'KL' },
  ]
  return `Only ${percent(top)} of the rows pruned, perplexity over ${count(targets)} tokens\n${table(heads, [dense, ...lines])}`
}

/** Neurons in twelve intervals of [0, far], as bars of their logarithm. */
export function spread(values: readonly number[], far: number): string {
  const counts = Array.from({ length: 12 }, () => 0)
  for (const value of values) counts[Math.min(11, Math.floor((value / far) * 12))]!++
  const most = Math.log1p(Math.max(...counts))
  return counts
    .map((n) => (n === 0 ? ' ' : LEVELS[Math.round((Math.log1p(n) / most) * (LEVELS.length - 1))]!))
    .join('')
    .trimEnd()
}
