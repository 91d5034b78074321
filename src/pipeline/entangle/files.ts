import { existsSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EntangleReport } from '../../entangle/types.ts'
import { UsageError } from '../../errors.ts'
import { clustersCsv, neuronsCsv, subsetCsv } from '../../report/csv.ts'
import { reportJson } from '../../report/json.ts'
import type { Summary } from '../../report/summary.ts'
import { summarize } from '../../report/summary.ts'
import type { EntangleOptions } from './options.ts'
import { entangle } from './entangle.ts'

/** The files of a report folder. */
export const REPORT_FILES = {
  json: 'entanglement.json',
  csv: 'entanglement.csv',
  page: 'report.html',
  clusters: 'clusters.csv',
  subset: 'subset.csv',
} as const

export type EntangleFilesResult = {
  readonly report: EntangleReport
  readonly summary: Summary
  /** What entanglement.json holds. */
  readonly json: string
  readonly files: readonly string[]
}

/** entangle(), and its report written to `out` where one is given. */
export async function entangleFiles(
  options: EntangleOptions & { readonly out?: string },
): Promise<EntangleFilesResult> {
  const { out } = options
  if (out !== undefined) checkReportFolder(out)
  const report = await entangle(options)
  const files = out === undefined ? [] : await writeEntanglement(report, out)
  return { report, summary: summarize(report), json: reportJson(report), files }
}

/**
 * Writes entanglement.json, entanglement.csv, report.html and the tables of experiments into `out`, each under its name
 * only when it is whole; reports that were there are replaced. Returns their paths. Throws UsageError when `out` is a file.
 */
export async function writeEntanglement(report: EntangleReport, out: string): Promise<string[]> {
  checkReportFolder(out)
  // Drawing loads a plotting library, which nobody else should wait for.
  const { reportPage } = await import('../../report/page.ts')
  mkdirSync(out, { recursive: true })
  const { clusters, subset } = report.experiments ?? {}
  const files: [string, string][] = [
    [REPORT_FILES.json, reportJson(report)],
    [REPORT_FILES.csv, neuronsCsv(report)],
    [REPORT_FILES.page, reportPage(report)],
    ...(clusters ? [[REPORT_FILES.clusters, clustersCsv(clusters)] as [string, string]] : []),
    ...(subset ? [[REPORT_FILES.subset, subsetCsv(subset)] as [string, string]] : []),
  ]
  return files.map(([name, text]) => {
    const path = join(out, name)
    writeFileSync(`${path}.partial`, text)
    renameSync(`${path}.partial`, path)
    return path
  })
}

/** Throws UsageError when a report cannot be put there, before hours are spent on it. */
function checkReportFolder(out: string): void {
  if (existsSync(out) && !statSync(out).isDirectory())
    throw new UsageError(`Cannot write the report to ${out}: it is a file: give a folder with --out`)
}
