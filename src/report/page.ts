import { linearFit } from '../entangle/ranking.ts'
import type { EntangleReport } from '../entangle/types.ts'
import { experimentFigures } from './experiment-figures.ts'
import type { Figure } from './figure.ts'
import { figureHtml } from './figure.ts'
import { denseFigures } from './figures.ts'
import { mixtureFigures } from './mixture-figures.ts'
import { neuronTable } from './neuron-table.ts'
import { SCRIPT } from './script.ts'
import { namesOf, ofName } from './select.ts'
import { STYLE } from './style.ts'
import { summarize } from './summary.ts'
import { count, escape, short, shown } from './text.ts'

/**
 * report.html: one file without any reference outside itself, in the order of a reader's questions: what was found, what
 * to do, the figures, the neurons, how it was measured.
 */
export function reportPage(report: EntangleReport): string {
  const dense = denseFigures(report)
  const mixture = report.mixture ? mixtureFigures(report) : []
  const experiments = report.experiments ? experimentFigures(report.experiments) : []
  const title = `Entanglement of ${report.model}`
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>${escape(title)}</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><a class="skip" href="#neurons">To the table of neurons</a>
<header><h1>${escape(title)}</h1>${summaryHtml(report)}${navigation([...dense, ...mixture, ...experiments])}</header>
<main>${facts(report)}
<section id="figures"><h2>What is entangled</h2>${dense.map((figure) => figureHtml(figure)).join('\n')}${correlations(report)}</section>
${sectionOf('expansion', 'What expansion did', mixture)}${sectionOf('experiments', 'Experiments', experiments)}
${neuronTable(report)}
${method(report)}</main>
<footer><p>Written by ${report.tool.name} ${escape(report.tool.version)}. Definitions: Sparse Expansion (arXiv 2405.15756).</p></footer>
<script>${SCRIPT}</script></body></html>
`
}

function sectionOf(id: string, title: string, figures: readonly Figure[]): string {
  if (figures.length === 0) return ''
  return `<section id="${id}"><h2>${title}</h2>${figures.map((figure) => figureHtml(figure)).join('\n')}</section>`
}

function summaryHtml(report: EntangleReport): string {
  const { findings, advice } = summarize(report)
  return `<section class="summary" id="summary"><h2 style="border:0;margin:.4rem 0;padding:0">In short</h2>${itemsHtml(findings)}<p><strong>What to try next</strong></p>${itemsHtml(advice)}</section>`
}

function itemsHtml(list: readonly string[]): string {
  return `<ul>${list.map((line) => `<li>${inline(line)}</li>`).join('')}</ul>`
}

/** Escaped text with \`code\`. */
function inline(text: string): string {
  return escape(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>')
}

function navigation(figures: readonly Figure[]): string {
  const links = [...figures.map(({ id, title }) => [id, title] as const), ['neurons', 'Neurons'], ['method', 'Method']]
  return `<nav aria-label="Sections"><ul>${links.map(([id, title]) => `<li><a href="#${id}">${escape(title!)}</a></li>`).join('')}</ul></nav>`
}

function facts(report: EntangleReport): string {
  const { shape, options, text, mixture } = report
  const list: [string, string][] = [
    ['Layers', String(shape.layers)],
    ['Hidden, FF', `${shape.hidden}, ${shape.ff}`],
    ['Neurons measured', count(report.matrices.reduce((sum, { wd }) => sum + wd.length, 0))],
    ['Tokens', count(options.tokens)],
    ['Domains', Object.keys(text.domains).join(', ')],
  ]
  if (mixture) list.push(['Experts', String(mixture.experts)], ['Zeros', `${shown(mixture.sparsity * 100)} %`])
  return `<dl class="facts">${list.map(([name, value]) => `<div><dt>${name}</dt><dd>${escape(value)}</dd></div>`).join('')}</dl>`
}

/** How much of the variance of WD the simpler measures explain. */
function correlations(report: EntangleReport): string {
  const measures = [
    ['|mean|', (m: EntangleReport['matrices'][number]) => m.mean.map(Math.abs)],
    ['variance', (m: EntangleReport['matrices'][number]) => m.variance],
    ['kurtosis', (m: EntangleReport['matrices'][number]) => m.kurtosis],
    ['mean |w|', (m: EntangleReport['matrices'][number]) => m.weight],
    ['MD', (m: EntangleReport['matrices'][number]) => m.md],
  ] as const
  const rows = measures.map(([name, of]) => {
    const cells = namesOf(report.matrices).map((matrix) => {
      const list = ofName(report, matrix)
      return `<td>${shown(
        linearFit(
          list.flatMap((m) => of(m)),
          list.flatMap(({ wd }) => wd),
        ).r2,
      )}</td>`
    })
    return `<tr><th scope="row">${name}</th>${cells.join('')}</tr>`
  })
  return `<section id="correlations"><h3>What else would tell</h3><p>R² of a straight line from simpler measures to WD, over all layers: near 0 means that the measure does not find entangled neurons.</p>
<table class="plain"><thead><tr><th scope="col">measure</th>${namesOf(report.matrices)
    .map((name) => `<th scope="col">${short(name)}</th>`)
    .join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></section>`
}

function method(report: EntangleReport): string {
  const { options, notes, wdBound, sourceSha256, text, products } = report
  const lines = [
    `Outputs are pre-activations of gate and up and outputs of down, over ${count(options.tokens)} tokens in windows of ${options.sequenceLength} (seed ${options.seed}, ${count(text.documents)} documents).`,
    `WD is streamed through a histogram of fixed memory; no neuron is further than ${shown(wdBound)} from the exact form. MD: ${count(options.pairs)} random disjoint pairs of tokens a layer.`,
    `Dense model: SHA-256 ${sourceSha256}. Tokens: SHA-256 ${text.tokensSha256}.`,
    `Matrix products: ${products === 'amx' ? 'AMX tiles, factors with 16 bits of mantissa, sums in f32' : 'onnxruntime, f32'}.`,
    ...notes,
  ]
  return `<section id="method"><h2>How it was measured</h2><ul>${lines.map((line) => `<li style="overflow-wrap:anywhere">${escape(line)}</li>`).join('')}</ul></section>`
}
