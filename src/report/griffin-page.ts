import { figureHtml } from './figure.ts'
import type { GriffinPageData } from './griffin-data.ts'
import { griffinFigures } from './griffin-figures.ts'
import { STYLE } from './style.ts'
import { count, escape, share, shown } from './text.ts'

/** griffin.html: one file without any reference outside itself: what skipping costs, what it gains, why it works at all. */
export function griffinPage(data: GriffinPageData): string {
  const figures = griffinFigures(data)
  const title = `GRIFFIN on ${data.source.name}`
  const links = [...figures.map((figure) => [figure.id, figure.title]), ['method', 'Method']]
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>${escape(title)}</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><a class="skip" href="#method">To the method</a>
<header><h1>${escape(title)}</h1><section class="summary" id="summary"><h2 style="border:0;margin:.4rem 0;padding:0">In short</h2><ul>${findings(
    data,
  )
    .map((finding) => `<li>${escape(finding)}</li>`)
    .join('')}</ul></section>
<nav aria-label="Sections"><ul>${links.map(([id, name]) => `<li><a href="#${id}">${escape(name!)}</a></li>`).join('')}</ul></nav></header>
<main>${figures.map((figure) => figureHtml(figure)).join('\n')}
${method(data)}</main>
<footer><p>Written by ${data.tool.name} ${escape(data.tool.version)}. Definitions: GRIFFIN (arXiv 2404.01365).</p></footer></body></html>
`
}

function findings({ quality, scores, select, dense, copy, flocking, speed, model }: GriffinPageData): string[] {
  const rows = quality.filter((row) => row.scores === scores && row.select === select)
  const half = rows.find(({ density }) => density === 0.5) ?? rows[0]!
  const copied = copy.densities.find(({ density }) => density === half.density)
  const mean = (of: (row: (typeof flocking)[number]) => number): number =>
    flocking.reduce((sum, row) => sum + of(row), 0) / flocking.length
  const list = [
    `Keeping ${share(half.density)} of the FF neurons, chosen once per prompt, takes the perplexity from ${shown(dense.perplexity)} to ${shown(half.quality.perplexity)}; the most likely token stays the same for ${share(half.quality.topOneAgreement ?? Number.NaN)} of the targets.`,
    `Of passages that come a second time, ${share(copy.all.accuracy)} of the tokens are predicted with all neurons${copied ? `, ${share(copied.accuracy)} with ${share(copied.density)}` : ''}.${copy.all.accuracy < 0.1 ? ' This model cannot copy: the task says nothing about it.' : ''}`,
    `A prompt and the text behind it share neurons: Jaccard index ${shown(mean((row) => row.promptToContinuation))}, ${shown(mean((row) => row.chance))} by chance, ${shown(mean((row) => row.betweenPrompts))} between prompts.`,
  ]
  const timed = speed?.find(({ density }) => density === half.density)
  if (timed) {
    const { ff, model: whole } = timed
    const times = (sides: typeof ff, ms: number): string => `${shown(sides.dense.medianMs / ms)}x`
    const native = ff.native
      ? `, with the native operator ${times(ff, ff.native.medianMs)} and ${times(whole, whole.native!.medianMs)}`
      : ''
    list.push(
      `At ${share(timed.density)} one token takes the FF layers ${times(ff, ff.gathered.medianMs)} and the whole model ${times(whole, whole.gathered.medianMs)} as fast in stock onnxruntime${native}.`,
    )
  }
  if (model.kind === 'artifact')
    list.push(
      'On an artifact the other neurons are computed and set to 0: the quality is that of leaving them out, no time is gained.',
    )
  list.push(
    'The model was not trained for this, and tasks fail at densities of their own: read perplexity and copying, and try yours.',
  )
  return list
}

function method({ text, source, model, scores, select, copy }: GriffinPageData): string {
  const what =
    model.kind === 'dense' ? 'the dense model' : `an artifact of ${model.experts} experts (router: ${model.router})`
  const lines = [
    `${count(text.windows)} windows of ${count(text.sequenceLength)} tokens, the first ${count(text.promptTokens)} of each the prompt, run with all neurons; quality is that of the tokens behind it but the first.`,
    `Neurons by ${scores}, ${select}. Measured on ${what}.`,
    `Copying: ${count(copy.passages)} passages of ${count(copy.passageTokens)} tokens of the text in random order, each twice; the second is predicted.`,
    `Dense model: SHA-256 ${source.sha256}.`,
  ]
  return `<section id="method"><h2>How it was measured</h2><ul>${lines.map((one) => `<li style="overflow-wrap:anywhere">${escape(one)}</li>`).join('')}</ul></section>`
}
