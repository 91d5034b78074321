import { COLORS, draw, Plot } from './draw.ts'
import type { Figure } from './figure.ts'
import { figureHtml } from './figure.ts'
import type { HireSpeedData } from './hire-speed-figures.ts'
import { shardFigure, speedFigures, timesText } from './hire-speed-figures.ts'
import { STYLE } from './style.ts'
import { count, escape, share, shown } from './text.ts'

type Scored = {
  readonly perplexity: number
  readonly standardError: number
  readonly kl?: number
  readonly topOneAgreement?: number
  readonly densePerplexity?: number
}

/** What a page about HiRE shows: the result of predictHireFiles(), predictors by name. */
export type HirePageData = {
  readonly name: string
  readonly toolVersion: string
  readonly calibrationTokens: number
  readonly choosingTokens: number
  /** Recall by k', one curve for each predictor that was tried; of FF layers the mean over layers. */
  readonly curves: readonly {
    readonly of: 'ff' | 'softmax'
    readonly predictor: string
    readonly kPrime: number
    readonly recall: number
  }[]
  readonly chosen: readonly {
    readonly where: string
    readonly predictor: string
    readonly k: number
    readonly kPrime: number
    readonly recall: number
  }[]
  readonly quality?: Scored
  readonly densities?: readonly { readonly density: number; readonly quality: Scored }[]
  readonly speed?: HireSpeedData
  /** DA-TOP-k of the softmax's `shardsOf` largest logits. */
  readonly shards?: readonly {
    readonly shards: number
    readonly slack: number
    readonly contiguous: number
    readonly dealt: number
    readonly bytes: number
  }[]
  readonly shardsOf?: number
}

/** hire.html: one file without any reference outside itself: what predictors find, what leaving out the rest costs. */
export function hirePage(data: HirePageData): string {
  const title = `HiRE on ${data.name}`
  const figures = [
    ...(['ff', 'softmax'] as const)
      .filter((of) => data.curves.some((one) => one.of === of))
      .map((of) => recall(data, of)),
    ...(data.densities ? [quality(data.densities)] : []),
    ...(data.speed ? speedFigures(data.speed) : []),
    ...(data.shards ? [shardFigure(data.shards, data.shardsOf!)] : []),
  ]
  const links = [...figures.map((figure) => [figure.id, figure.title]), ['choice', 'What was chosen']]
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>${escape(title)}</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><a class="skip" href="#choice">To what was chosen</a>
<header><h1>${escape(title)}</h1><section class="summary" id="summary"><ul>${findings(data)
    .map((finding) => `<li>${escape(finding)}</li>`)
    .join('')}</ul></section>
<nav aria-label="Sections"><ul>${links.map(([id, name]) => `<li><a href="#${id}">${escape(name!)}</a></li>`).join('')}</ul></nav></header>
<main>${figures.map((figure) => figureHtml(figure)).join('\n')}
${choice(data)}</main>
<footer><p>Written by spexpand ${escape(data.toolVersion)}. Definitions: HiRE (arXiv 2402.09360).</p></footer></body></html>
`
}

function findings({ quality: q, calibrationTokens, choosingTokens, speed: timed }: HirePageData): string[] {
  const list = [
    `Predictors from ${count(calibrationTokens)} tokens; rank and k' were chosen on ${count(choosingTokens)} others.`,
  ]
  if (q)
    list.push(
      `With the chosen k' the perplexity is ${shown(q.perplexity)}, ${shown(q.densePerplexity ?? Number.NaN)} with every product exact; KL ${shown(q.kl ?? 0)} nats, the most likely token stays the same for ${share(q.topOneAgreement ?? 1)} of the targets.`,
    )
  if (timed)
    list.push(
      `As chosen, one token takes ${timesText(timed)} as fast as with every product exact; ${count(timed.threads)} threads, medians of ${count(timed.rounds)} in turns${timed.nativeMissing === undefined ? '' : ` (${timed.nativeMissing})`}.`,
    )
  list.push('The model was not trained for this; reasoning and copying fail sooner than perplexity shows.')
  return list
}

function recall({ curves }: HirePageData, of: 'ff' | 'softmax'): Figure {
  const rows = curves.filter((one) => one.of === of)
  const names = [...new Set(rows.map(({ predictor }) => predictor))]
  const last = names.map((name) => rows.filter(({ predictor }) => predictor === name).at(-1)!)
  const svg = draw(
    `Recall by k-prime, ${of}`,
    { x: { label: "computed (k')" }, y: { label: 'recall', grid: true }, color: { domain: names } },
    [
      Plot.lineY(rows, { x: 'kPrime', y: 'recall', stroke: 'predictor', strokeWidth: 2 }),
      Plot.dot(rows, { x: 'kPrime', y: 'recall', fill: 'predictor', r: 3 }),
      Plot.text(last, { x: 'kPrime', y: 'recall', text: 'predictor', dy: -9, textAnchor: 'end' }),
    ],
  )
  return {
    id: `recall-${of}`,
    title: of === 'ff' ? 'Recall in the FF layers' : 'Recall in the softmax',
    caption:
      "Share of the k that count among the k' predicted, on text that the predictors were not made from; the first point is k' = k.",
    panels: [{ svg }],
    titles: ['predictor', 'k_prime', 'recall'],
    rows: rows.map(({ predictor, kPrime, recall: found }) => [predictor, kPrime, found]),
  }
}

const DENSITY = {
  label: 'neurons computed (%)',
  reverse: true,
  type: 'log',
  ticks: [50, 25, 10, 5],
  tickFormat: 'd',
} as const

function line(
  label: string,
  yLabel: string,
  points: readonly { density: number; value: number }[],
  all: number,
): string {
  const rows = points.map((point) => ({ ...point, density: 100 * point.density }))
  return draw(label, { x: DENSITY, y: { label: yLabel, grid: true, zero: true } }, [
    Plot.ruleY([all], { stroke: COLORS.faint, strokeDasharray: '4 3' }),
    Plot.lineY(rows, { x: 'density', y: 'value', stroke: COLORS.strong, strokeWidth: 2 }),
    Plot.dot(rows, { x: 'density', y: 'value', fill: COLORS.strong, r: 3 }),
  ])
}

function quality(rows: NonNullable<HirePageData['densities']>): Figure {
  const of = (value: (q: Scored) => number): { density: number; value: number }[] =>
    rows.map(({ density, quality: q }) => ({ density, value: value(q) }))
  return {
    id: 'quality',
    title: 'Quality against density',
    caption:
      'The same share of neurons in every FF layer, the softmax exact; KL and agreement against all neurons (dashed).',
    panels: [
      {
        title: 'KL (nats)',
        svg: line(
          'KL by density',
          'nats',
          of((q) => q.kl ?? 0),
          0,
        ),
      },
      {
        title: 'same top token',
        svg: line(
          'Agreement by density',
          'share',
          of((q) => q.topOneAgreement ?? 1),
          1,
        ),
      },
    ],
    titles: ['density', 'perplexity', 'standard_error', 'kl', 'same_top_1'],
    rows: rows.map(({ density, quality: q }) => [
      density,
      q.perplexity,
      q.standardError,
      q.kl ?? Number.NaN,
      q.topOneAgreement ?? Number.NaN,
    ]),
  }
}

function choice({ chosen }: HirePageData): string {
  const rows = chosen.map(
    ({ where, predictor, k, kPrime, recall: found }) =>
      `<tr><td>${escape(where)}</td><td>${escape(predictor)}</td><td>${count(k)}</td><td>${count(kPrime)}</td><td>${found.toFixed(4)}</td></tr>`,
  )
  return `<section id="choice"><h2>What was chosen</h2><table><thead><tr><th>block</th><th>predictor</th><th>k</th><th>k'</th><th>recall</th></tr></thead><tbody>${rows.join('')}</tbody></table></section>`
}
