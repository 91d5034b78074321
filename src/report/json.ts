import type { EntangleReport } from '../entangle/types.ts'

/**
 * entanglement.json: the report with numbers of six digits and null where a number does not exist (constant outputs, no
 * tokens), so that equal runs give equal bytes. export/schema/entanglement.schema.json describes it.
 */
export function reportJson(report: EntangleReport): string {
  return `${JSON.stringify(report, (_, value: unknown) => (typeof value === 'number' ? rounded(value) : value))}\n`
}

function rounded(value: number): number | null {
  if (!Number.isFinite(value)) return null
  return Number.isInteger(value) ? value : Number(value.toPrecision(6))
}
