import type { EntangleFilesResult, EntangleReport } from '../../src/index.ts'
import { digits } from '../format.ts'
import { table } from '../table.ts'

const LEVELS = '▁▂▃▄▅▆▇█'
const MATRICES = ['gate_proj', 'up_proj', 'down_proj'] as const

/** What `entangle` prints: findings, one line a layer with its distribution, advice, where the report lies. */
export function entangleReport({ report, summary, files }: EntangleFilesResult): string {
  const sections = [
    summary.findings.join('\n'),
    layerTable(report),
    `Next:\n${summary.advice.map((line) => `  ${line}`).join('\n')}`,
    [...report.notes.map((note) => `Note: ${note}`), ...files.map((file) => `Wrote ${file}`)].join('\n'),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

/** Median and largest WD of every matrix, with a sparkline of how its neurons are spread from 0 to the largest WD of all. */
function layerTable(report: EntangleReport): string {
  const far = report.matrices.reduce((max, { wd }) => Math.max(max, ...wd.filter((value) => Number.isFinite(value))), 0)
  const rows = Array.from({ length: report.shape.layers }, (_, layer) => [
    String(layer),
    ...MATRICES.flatMap((name) => {
      const { wd } = report.matrices.find((m) => m.layer === layer && m.matrix === name)!
      const sorted = wd.filter((value) => Number.isFinite(value)).toSorted((a, b) => a - b)
      return [digits(sorted[sorted.length >> 1] ?? NaN, 3), digits(sorted.at(-1) ?? NaN, 3), spread(sorted, far)]
    }),
  ])
  const heads = MATRICES.flatMap((name) => [
    { title: `${name.replace('_proj', '')}: median` },
    { title: 'max' },
    { title: 'spread', align: 'left' as const },
  ])
  return `WD by layer (spread: neurons from 0 to ${digits(far, 3)}, logarithmic)\n${table([{ title: 'layer' }, ...heads], rows)}`
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
