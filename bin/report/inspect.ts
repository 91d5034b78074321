import type { InspectResult } from '../../src/index.ts'

export function inspectReport(result: InspectResult): string {
  return `${JSON.stringify(result)}\n`
}
