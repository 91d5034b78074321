import { digits } from '../format.ts'
import { table } from '../table.ts'

/** A small flat result, one field a line: whole numbers and text as they are, other numbers with six digits. */
export function fieldsReport(result: object): string {
  const rows = Object.entries(result)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, fieldText(value)])
  const columns = [
    { title: '', align: 'left' as const },
    { title: '', align: 'left' as const },
  ]
  return `${table(columns, rows)}\n`
}

function fieldText(value: unknown): string {
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : digits(value, 6)
  return typeof value === 'string' ? value : JSON.stringify(value)
}
