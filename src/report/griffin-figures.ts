import { COLORS, draw, Plot } from './draw.ts'
import type { Figure } from './figure.ts'
import type { GriffinPageData } from './griffin-data.ts'

/** Density is told in percent, falling from left to right: as one skips more. */
const DENSITY = {
  label: 'neurons kept (%)',
  reverse: true,
  type: 'log',
  ticks: [75, 50, 25, 10, 5],
  tickFormat: 'd',
} as const

export function griffinFigures(data: GriffinPageData): Figure[] {
  return [quality(data), ...(data.speed ? [speed(data.speed)] : []), heat(data), curves(data), layers(data)]
}

/** One line by density. */
type Point = { readonly density: number; readonly value: number }

function line(label: string, yLabel: string, points: readonly Point[], all: number, most?: number): string {
  const rows = [...points].sort((a, b) => b.density - a.density).map((p) => ({ ...p, density: 100 * p.density }))
  return draw(
    label,
    { x: DENSITY, y: { label: yLabel, grid: true, zero: true, ...(most === undefined ? {} : { domain: [0, most] }) } },
    [
      Plot.ruleY([all], { stroke: COLORS.faint, strokeDasharray: '4 3' }),
      Plot.lineY(rows, { x: 'density', y: 'value', stroke: COLORS.strong, strokeWidth: 2 }),
      Plot.dot(rows, { x: 'density', y: 'value', fill: COLORS.strong, r: 3 }),
    ],
  )
}

function quality({ quality: all, scores, select, dense, copy, reference }: GriffinPageData): Figure {
  const rows = all.filter((row) => row.scores === scores && row.select === select)
  const points = (of: (row: (typeof rows)[number]) => number): Point[] =>
    rows.map((row) => ({ density: row.density, value: of(row) }))
  const to = reference === 'dense' ? 'the dense model' : 'the artifact with all neurons'
  return {
    id: 'quality',
    title: 'Quality against density',
    caption: `Text behind the prompts, and passages that come a second time and that only copying predicts. KL and agreement are measured against ${to}; dashed: all neurons. Copying often fails at another density than perplexity does: read both.`,
    panels: [
      {
        title: 'log perplexity (nats)',
        svg: line(
          'Loss by density',
          'nats',
          points(({ quality: q }) => q.nll),
          dense.nll,
        ),
      },
      {
        title: 'KL',
        svg: line(
          'KL by density',
          'nats',
          points(({ quality: q }) => q.kl ?? 0),
          dense.kl ?? 0,
        ),
      },
      {
        title: 'copied tokens',
        svg: line(
          'Copied tokens by density',
          'share',
          copy.densities.map(({ density, accuracy }) => ({ density, value: accuracy })),
          copy.all.accuracy,
          1,
        ),
      },
    ],
    titles: [
      'ranking',
      'selection',
      'density',
      'perplexity',
      'standard_error',
      'kl',
      'same_top_1',
      'copy_accuracy',
      'copy_nll',
    ],
    rows: [{ scores: 'all', select: 'all', density: 1, quality: dense }, ...all].map((row) => {
      const { scores: by, select: how, density, quality: q } = row
      const copied = density === 1 ? copy.all : copy.densities.find((one) => one.density === density)
      const own = (by === scores && how === select) || by === 'all' ? copied : undefined
      return [
        by,
        how,
        density,
        q.perplexity,
        q.standardError,
        q.kl ?? NaN,
        q.topOneAgreement ?? NaN,
        own?.accuracy ?? NaN,
        own?.nll ?? NaN,
      ]
    }),
  }
}

function speed(rows: NonNullable<GriffinPageData['speed']>): Figure {
  const panel = (part: 'ff' | 'model', label: string): string => {
    const data = rows.flatMap((row) => {
      const { dense, gathered, native } = row[part]
      const at = (form: string, ms: number): { form: string; density: number; times: number } => ({
        form,
        density: 100 * row.density,
        times: dense.medianMs / ms,
      })
      return [at('gathered', gathered.medianMs), ...(native ? [at('native', native.medianMs)] : [])]
    })
    const color = { domain: ['gathered', 'native'], range: [COLORS.gate_proj, COLORS.up_proj] }
    return draw(label, { x: DENSITY, y: { label: 'times all neurons', grid: true, zero: true }, color }, [
      Plot.ruleY([1], { stroke: COLORS.faint, strokeDasharray: '4 3' }),
      Plot.lineY(data, { x: 'density', y: 'times', stroke: 'form', z: 'form', strokeWidth: 2 }),
      Plot.dot(data, { x: 'density', y: 'times', fill: 'form', r: 3 }),
      Plot.text(
        data.filter(({ density }) => density === Math.min(...data.map((one) => one.density))),
        { x: 'density', y: 'times', text: 'form', dy: -9, textAnchor: 'end' },
      ),
    ])
  }
  return {
    id: 'speed',
    title: 'Speed against density',
    caption:
      'Decoding of one token against all neurons in stock onnxruntime, medians in turns. gathered: stock onnxruntime on the selected weights; native: our operator NeuronSubsetFFN, which reads the weights as they are stored.',
    panels: [
      { title: 'FF layers', svg: panel('ff', 'Speed-up of the FF layers by density') },
      { title: 'whole model', svg: panel('model', 'Speed-up of the model by density') },
    ],
    titles: ['density', 'part', 'all_ms', 'gathered_ms', 'native_ms'],
    rows: rows.flatMap(({ density, ff, model }) =>
      (
        [
          ['ff', ff],
          ['model', model],
        ] as const
      ).map(([part, s]) => [density, part, s.dense.medianMs, s.gathered.medianMs, s.native?.medianMs ?? NaN]),
    ),
  }
}

function heat({ heat: maps }: GriffinPageData): Figure {
  return {
    id: 'flocking',
    title: 'Flocking: token by neuron',
    caption:
      'Share of a token’s activation |z| that neurons have, in one text: columns are the neurons that the prompt needs most, rows are tokens, the line is the end of the prompt. Stripes that go on below the line are what GRIFFIN lives on.',
    panels: maps.map(({ layer, firstToken, promptTokens, rows }) => ({
      title: `layer ${layer}`,
      svg: draw(
        `Activations of layer ${layer} by token and neuron`,
        {
          x: { label: 'neuron, by rank', tickFormat: 'd' },
          y: { label: 'token', reverse: true },
          opacity: { type: 'identity' },
          height: 320,
        },
        [
          Plot.rect(cells(rows, firstToken), {
            x1: 'x1',
            x2: 'x2',
            y1: 'y1',
            y2: 'y2',
            fill: COLORS.gate_proj,
            fillOpacity: 'shade',
          }),
          Plot.ruleY([promptTokens], { stroke: COLORS.strong }),
        ],
      ),
    })),
    titles: ['layer', 'token', 'neuron', 'share'],
    rows: maps.flatMap(({ layer, firstToken, neurons, rows }) =>
      rows.flatMap((row, t) =>
        row.slice(0, 16).map((value, j) => [layer, firstToken + t, neurons[j]!, Number(value.toFixed(4))]),
      ),
    ),
  }
}

/** Below this share a cell is left empty: most are, and the page stays small. */
const LEAST_SHARE = 0.06

type HeatCell = {
  readonly x1: number
  readonly x2: number
  readonly y1: number
  readonly y2: number
  readonly shade: number
}

function cells(rows: readonly (readonly number[])[], firstToken: number): HeatCell[] {
  return rows.flatMap((row, t) =>
    row.flatMap((value, j) => {
      if (value < LEAST_SHARE) return []
      const shade = Math.min(1, Math.ceil(10 * Math.sqrt(value)) / 10)
      return [{ x1: j, x2: j + 1, y1: firstToken + t, y2: firstToken + t + 1, shade }]
    }),
  )
}

const KINDS = ['promptToContinuation', 'betweenPrompts', 'chance'] as const
const KIND_COLORS = { domain: [...KINDS], range: [COLORS.strong, COLORS.gate_proj, COLORS.faint] }
const KIND_NAMES = { promptToContinuation: 'own text', betweenPrompts: 'other prompts', chance: 'chance' }

function curves({ flockingCurve }: GriffinPageData): Figure {
  const data = flockingCurve.flatMap((row) =>
    KINDS.map((kind) => ({ kind, density: 100 * row.density, jaccard: row[kind] })),
  )
  const least = Math.min(...data.map(({ density }) => density))
  return {
    id: 'jaccard',
    title: 'How much sets agree',
    caption:
      'Jaccard index of the neurons selected for a prompt with those of the text that follows it, with those of other prompts, and of random sets; mean over layers.',
    panels: [
      {
        svg: draw(
          'Jaccard index by density',
          { x: DENSITY, y: { label: 'Jaccard index', domain: [0, 1], grid: true }, color: KIND_COLORS },
          [
            Plot.lineY(data, { x: 'density', y: 'jaccard', stroke: 'kind', z: 'kind', strokeWidth: 2 }),
            Plot.dot(data, { x: 'density', y: 'jaccard', fill: 'kind', r: 2.5 }),
            Plot.text(
              data.filter(({ density }) => density === least),
              {
                x: 'density',
                y: 'jaccard',
                text: (d: { kind: (typeof KINDS)[number] }) => KIND_NAMES[d.kind],
                dy: -8,
                textAnchor: 'end',
              },
            ),
          ],
        ),
      },
    ],
    titles: ['density', ...KINDS],
    rows: flockingCurve.map((row) => [row.density, ...KINDS.map((kind) => row[kind])]),
  }
}

function layers({ flocking, densities }: GriffinPageData): Figure {
  const data = flocking.flatMap((row) => KINDS.map((kind) => ({ kind, layer: row.layer, jaccard: row[kind] })))
  const kept = densities.map((density, layer) => ({ layer, density: 100 * density }))
  return {
    id: 'layers',
    title: 'Layer by layer',
    caption: `The same at ${Math.round(100 * flocking[0]!.density)} % by layer, and the share of neurons that each layer keeps.`,
    panels: [
      {
        title: 'Jaccard index',
        svg: draw(
          'Jaccard index by layer',
          {
            x: { label: 'layer', tickFormat: 'd' },
            y: { label: 'Jaccard index', domain: [0, 1], grid: true },
            color: KIND_COLORS,
          },
          [Plot.lineY(data, { x: 'layer', y: 'jaccard', stroke: 'kind', z: 'kind', strokeWidth: 2 })],
        ),
      },
      {
        title: 'density',
        svg: draw(
          'Density by layer',
          { x: { label: 'layer', tickFormat: 'd' }, y: { label: 'neurons kept (%)', domain: [0, 100], grid: true } },
          [Plot.lineY(kept, { x: 'layer', y: 'density', stroke: COLORS.down_proj, strokeWidth: 2, curve: 'step' })],
        ),
      },
    ],
    titles: ['layer', 'density', ...KINDS],
    rows: flocking.map((row) => [row.layer, densities[row.layer]!, ...KINDS.map((kind) => row[kind])]),
  }
}
