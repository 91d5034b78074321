/** A column of a table: its heading, and the side its cells lean to. */
export type Column = { readonly title: string; readonly align?: 'left' | 'right' }

/**
 * Lines of a plain text table, two spaces between columns, no trailing blanks. Columns lean right unless told otherwise.
 * Throws RangeError when a row has another number of cells than there are columns.
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  for (const row of rows)
    if (row.length !== columns.length) throw new RangeError(`Row of ${row.length} cells in ${columns.length} columns`)
  const titles = columns.map(({ title }) => title)
  const lines = titles.some((title) => title !== '') ? [titles, ...rows] : rows
  const widths = columns.map((_, i) => Math.max(0, ...lines.map((line) => line[i]!.length)))
  return lines.map((line) => alignLine(line, columns, widths)).join('\n')
}

function alignLine(cells: readonly string[], columns: readonly Column[], widths: readonly number[]): string {
  return cells
    .map((cell, i) => (columns[i]!.align === 'left' ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
    .join('  ')
    .trimEnd()
}
