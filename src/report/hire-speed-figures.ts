import { COLORS, draw, Plot } from './draw.ts'
import type { Figure } from './figure.ts'
import { shown } from './text.ts'

type Median = { readonly medianMs: number }
type Sides = { readonly without: Median; readonly stock?: Median; readonly native?: Median }

/** Times of one token: as HiRE was chosen, and with one share of neurons in every layer. */
export type HireSpeedData = {
  readonly threads: number
  readonly rounds: number
  readonly nativeMissing?: string
  readonly chosen: { readonly ff?: Sides; readonly softmax?: Sides; readonly model: Sides }
  readonly rows: readonly { readonly density: number; readonly ff: Sides; readonly model: Sides }[]
}

const FORMS = ['stock', 'native'] as const
const FORM_COLORS = { domain: [...FORMS], range: [COLORS.down_proj, COLORS.strong] }

/** 'the FF layers 1.20x (native 2.00x), …' of what was chosen. */
export function timesText({ chosen: { ff, softmax, model } }: HireSpeedData): string {
  const parts = [
    ...(ff ? [partText('the FF layers', ff)] : []),
    ...(softmax ? [partText('the softmax', softmax)] : []),
    partText('the whole model', model),
  ]
  return parts.join(', ')
}

function partText(name: string, sides: Sides): string {
  const forms = FORMS.filter((form) => sides[form]).map((form) => `${shown(timesOf(sides, form))}x (${form})`)
  return `${name} ${forms.join(' and ')}`
}

/** Speed against density, where FF layers have predictors. */
export function speedFigures({ rows, chosen }: HireSpeedData): Figure[] {
  if (rows.length === 0) return []
  const panel = (part: 'ff' | 'model', label: string): string => {
    const data = rows.flatMap((row) =>
      FORMS.filter((form) => row[part][form]).map((form) => ({
        form,
        density: 100 * row.density,
        times: timesOf(row[part], form),
      })),
    )
    const least = Math.min(...data.map(({ density }) => density))
    return draw(
      label,
      {
        x: { label: 'neurons computed (%)', reverse: true },
        y: { label: 'times all', grid: true, zero: true },
        color: FORM_COLORS,
      },
      [
        Plot.ruleY([1], { stroke: COLORS.faint, strokeDasharray: '4 3' }),
        Plot.lineY(data, { x: 'density', y: 'times', stroke: 'form', z: 'form', strokeWidth: 2 }),
        Plot.dot(data, { x: 'density', y: 'times', fill: 'form', r: 3 }),
        Plot.text(
          data.filter(({ density }) => density === least),
          { x: 'density', y: 'times', text: 'form', dy: -8, textAnchor: 'end' },
        ),
      ],
    )
  }
  return [
    {
      id: 'speed',
      title: 'Speed against density',
      caption: `One token, predictors included, against every product exact (dashed): stock onnxruntime, and with the native operator${rows[0]!.ff.native ? '' : ' (not built here)'}. As chosen the whole model takes ${shown(chosen.model.without.medianMs)} ms without HiRE.`,
      panels: [
        { title: 'FF layers', svg: panel('ff', 'Speed-up of the FF layers by density') },
        { title: 'whole model', svg: panel('model', 'Speed-up of the model by density') },
      ],
      titles: [
        'density',
        ...(['ff', 'model'] as const).flatMap((part) => [`${part}_all_ms`, `${part}_stock_ms`, `${part}_native_ms`]),
      ],
      rows: rows.map(({ density, ff, model }) => [
        density,
        ...[ff, model].flatMap(({ without, stock, native }) => [
          without.medianMs,
          stock?.medianMs ?? Number.NaN,
          native?.medianMs ?? Number.NaN,
        ]),
      ]),
    },
  ]
}

/** Recall of the top k over shards, one curve for each slack, rows dealt out in turn. */
export function shardFigure(
  shards: readonly {
    readonly shards: number
    readonly slack: number
    readonly contiguous: number
    readonly dealt: number
    readonly bytes: number
  }[],
  k: number,
): Figure {
  const all = shards.map((row) => ({ ...row, slack: `slack ${row.slack}` }))
  const panel = (layout: 'contiguous' | 'dealt'): string =>
    draw(
      `Recall over shards, rows ${layout}`,
      {
        x: { label: 'shards', type: 'log', base: 2, ticks: [1, 2, 4, 8, 16, 32, 64], tickFormat: 'd' },
        y: { label: 'recall', domain: [0, 1], grid: true },
        color: { domain: [...new Set(all.map(({ slack }) => slack))] },
      },
      [
        Plot.lineY(all, { x: 'shards', y: layout, stroke: 'slack', z: 'slack', strokeWidth: 2 }),
        Plot.dot(all, { x: 'shards', y: layout, fill: 'slack', r: 3 }),
      ],
    )
  return {
    id: 'shards',
    title: 'Top k over shards (DA-TOP-k)',
    caption: `Recall of the ${k} largest exact logits when every shard sends its own top ⌈k / D⌉ + slack as pairs of 8 bytes: with contiguous rows, and with row i in shard i mod D.`,
    panels: [
      { title: 'contiguous rows', svg: panel('contiguous') },
      { title: 'rows dealt out in turn', svg: panel('dealt') },
    ],
    titles: ['shards', 'slack', 'recall_contiguous', 'recall_dealt', 'bytes'],
    rows: shards.map((row) => [row.shards, row.slack, row.contiguous, row.dealt, row.bytes]),
  }
}

function timesOf(sides: Sides, form: (typeof FORMS)[number]): number {
  return sides.without.medianMs / sides[form]!.medianMs
}
