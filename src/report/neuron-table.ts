import { descending } from '../entangle/ranking.ts'
import type { EntangleReport } from '../entangle/types.ts'
import { anchor, count, short, shown } from './text.ts'

/** Rows of the table; all neurons are in entanglement.csv. */
const MAX_ROWS = 1000

type Row = { readonly id: string; readonly cells: readonly (number | string)[] }

const TITLES: readonly [string, string][] = [
  ['layer', 'Decoder block, from 0'],
  ['matrix', 'gate, up or down'],
  ['neuron', 'Row of the matrix'],
  ['WD', 'Wasserstein distance of the standardised outputs to a normal distribution'],
  ['MD', 'Mapping difficulty'],
  ['mean', 'Mean output'],
  ['variance', 'Variance of the outputs'],
  ['kurtosis', 'Kurtosis of the outputs; 3 for a normal'],
  ['|w|', 'Mean magnitude of the weights'],
]
const EXPANSION_TITLES: readonly [string, string][] = [
  ['WD by expert', 'WD on the tokens of each expert, weighted by their share'],
  ['RI', 'Error of one expert over error of the mixture'],
  ['zeros', 'Share of zero weights over all experts'],
]

/** The sortable, searchable table of the most entangled neurons. It is complete and readable without scripts. */
export function neuronTable(report: EntangleReport): string {
  const rows = rowsOf(report)
  const all = report.matrices.reduce((sum, { wasserstein }) => sum + wasserstein.length, 0)
  const titles = [...TITLES, ...(report.mixture ? EXPANSION_TITLES : [])]
  const head = titles
    .map(
      ([title, meaning], i) =>
        `<th scope="col" aria-sort="${i === 3 ? 'descending' : 'none'}"><button type="button" title="${meaning}">${title}</button></th>`,
    )
    .join('')
  const body = rows
    .map(({ id, cells }) => `<tr id="${id}" tabindex="-1">${cells.map((cell) => cellHtml(cell)).join('')}</tr>`)
    .join('\n')
  return `<section id="neurons"><h2>Wasserstein neurons</h2>
<p>The ${count(rows.length)} most entangled of ${count(all)} Wasserstein neurons. Every neuron is in entanglement.csv. Press a heading to sort.</p>
<form class="controls" role="search"><label>Search <input id="search" type="search" placeholder="layer 3 gate" autocomplete="off"></label>
<label>Matrix <select id="matrix"><option value="">all</option><option>gate</option><option>up</option><option>down</option></select></label>
<span id="shown" role="status" aria-live="polite">${count(rows.length)} neurons</span></form>
<div class="scroll" role="region" aria-label="Table of neurons" tabindex="0"><table id="table"><thead><tr>${head}</tr></thead><tbody>
${body}
</tbody></table></div></section>`
}

function rowsOf(report: EntangleReport): Row[] {
  const candidates = report.matrices.flatMap((matrix) => matrix.wasserstein.map((neuron) => ({ matrix, neuron })))
  return descending(candidates.map(({ matrix, neuron }) => matrix.wd[neuron]!))
    .slice(0, MAX_ROWS)
    .map((at) => {
      const { matrix, neuron } = candidates[at]!
      const { layer, expansion } = matrix
      const measures = [matrix.wd, matrix.md, matrix.mean, matrix.variance, matrix.kurtosis, matrix.weight]
      if (expansion) measures.push(expansion.expertWd, expansion.ri, expansion.sparsity)
      return {
        id: anchor(layer, matrix.matrix, neuron),
        cells: [layer, short(matrix.matrix), neuron, ...measures.map((column) => column[neuron]!)],
      }
    })
}

function cellHtml(cell: number | string): string {
  if (typeof cell === 'string') return `<td class="word">${cell}</td>`
  return Number.isInteger(cell) ? `<td>${cell}</td>` : `<td data-v="${Number(cell.toPrecision(6))}">${shown(cell)}</td>`
}
