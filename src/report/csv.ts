import type { ClustersExperiment, EntangleReport, MatrixReport, SubsetExperiment } from '../entangle/types.ts'

/** A cell: numbers with six digits, empty where there is none; text quoted where it must be. */
export type Cell = string | number

/** RFC 4180 with \n line ends. */
export function csvOf(titles: readonly string[], rows: readonly (readonly Cell[])[]): string {
  return `${[titles, ...rows].map((row) => row.map(cellText).join(',')).join('\n')}\n`
}

/** A data: link that a browser saves as a file, so that a page needs nothing beside it. */
export function csvLink(csv: string): string {
  return `data:text/csv;charset=utf-8,${encodeURIComponent(csv)}`
}

const COLUMNS = ['wd', 'md', 'mean', 'variance', 'kurtosis', 'weight'] as const
const EXPANSION_COLUMNS = [
  'expertWd',
  'expertMd',
  'randomWd',
  'ri',
  'prunedWd',
  'baselinePrunedWd',
  'error',
  'baselineError',
  'sparsity',
] as const

/** entanglement.csv: one line per neuron of every matrix, in the order of the model. */
export function neuronsCsv(report: EntangleReport): string {
  const expanded = report.mixture !== undefined
  const titles = ['layer', 'matrix', 'neuron', ...COLUMNS, 'wasserstein', ...(expanded ? EXPANSION_COLUMNS : [])]
  return csvOf(titles, report.matrices.flatMap(neuronRows))
}

/** clusters.csv: one line per neuron, number of experts and grouping. */
export function clustersCsv({ layer, rows }: ClustersExperiment): string {
  const columns = ['experts', 'grouping', 'matrix', 'neuron', 'group', 'ri', 'expertWd', 'prunedWd'] as const
  return csvOf(
    ['layer', ...columns],
    rows.map((row) => [layer, ...columns.map((column) => row[column])]),
  )
}

/** subset.csv: one line per choice and share of zeros, the dense model first. */
export function subsetCsv({ rows, densePerplexity, denseStandardError }: SubsetExperiment): string {
  const columns = ['choice', 'sparsity', 'perplexity', 'standardError', 'kl'] as const
  const dense = ['dense', 0, densePerplexity, denseStandardError, 0]
  return csvOf(columns, [dense, ...rows.map((row) => columns.map((column) => row[column]))])
}

function neuronRows(matrix: MatrixReport): Cell[][] {
  const marked = new Set(matrix.wasserstein)
  const { expansion } = matrix
  return matrix.wd.map((_, i) => [
    matrix.layer,
    matrix.matrix,
    i,
    ...COLUMNS.map((column) => matrix[column][i]!),
    marked.has(i) ? 1 : 0,
    ...(expansion ? EXPANSION_COLUMNS.map((column) => expansion[column][i]!) : []),
  ])
}

function cellText(cell: Cell): string {
  if (typeof cell === 'number') return Number.isFinite(cell) ? String(Number(cell.toPrecision(6))) : ''
  return /[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell
}
