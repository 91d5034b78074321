import { bytes, digits } from '../format.ts'
import { table } from '../table.ts'

type Fields = Readonly<Record<string, unknown>>

/**
 * A result as text by its form alone: single values one a line, lists of alike objects as tables, other objects as
 * indented sections. Fields that are undefined are left out; sizes are known by names that end in 'bytes'.
 */
export function outline(result: object): string {
  return `${section(result as Fields).join('\n')}\n`
}

function section(fields: Fields): string[] {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
  const single = entries.filter(([, value]) => !isFields(value) && !isTable(value))
  const lines = single.length > 0 ? pairs(single).split('\n') : []
  for (const [name, value] of entries) {
    if (isTable(value)) lines.push('', `${name} (${value.length})`, ...indent(rowsOf(value)))
    else if (isFields(value)) lines.push('', name, ...indent(section(value)))
  }
  return lines[0] === '' ? lines.slice(1) : lines
}

function pairs(entries: readonly (readonly [string, unknown])[]): string {
  const columns = [
    { title: '', align: 'left' as const },
    { title: '', align: 'left' as const },
  ]
  return table(
    columns,
    entries.map(([name, value]) => [name, cell(name, value)]),
  )
}

/** Columns are the fields in the order they first appear; numbers lean right. */
function rowsOf(list: readonly Fields[]): string[] {
  const names = [...new Set(list.flatMap((row) => Object.keys(row)))]
  const columns = names.map((title) => ({
    title,
    align: list.every((row) => ['number', 'undefined'].includes(typeof row[title]))
      ? ('right' as const)
      : ('left' as const),
  }))
  return table(
    columns,
    list.map((row) => names.map((name) => cell(name, row[name]))),
  ).split('\n')
}

function cell(name: string, value: unknown): string {
  if (value === undefined || value === null) return '-'
  if (typeof value === 'number') {
    if (/bytes$/i.test(name)) return bytes(value)
    return Number.isInteger(value) ? String(value) : digits(value, 6)
  }
  if (typeof value === 'string') return value
  if (Array.isArray(value) && value.every((item) => typeof item === 'number' || typeof item === 'string'))
    return /shape|dims/i.test(name) ? `(${value.join(', ')})` : value.join(', ')
  return JSON.stringify(value)
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => (line === '' ? '' : `  ${line}`))
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0
}

function isTable(value: unknown): value is readonly Fields[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => isFields(item))
}
