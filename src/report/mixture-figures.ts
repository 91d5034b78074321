import { linearFit, quantile, quantiles } from '../entangle/ranking.ts'
import type { EntangleReport } from '../entangle/types.ts'
import { COLORS, draw, Plot } from './draw.ts'
import type { Figure } from './figure.ts'
import { thinned } from './figures.ts'
import { namesOf, ofName } from './select.ts'
import { short, shown } from './text.ts'

/** The figures of an artifact. */
export function mixtureFigures(report: EntangleReport): Figure[] {
  return [
    split(report),
    improvement(report),
    errors(report),
    zeros(report),
    tokens(report),
    usage(report),
    margins(report),
  ]
}

function split(report: EntangleReport): Figure {
  const data = report.matrices.map(({ layer, matrix, wd, wasserstein, expansion }) => {
    const median = (values: readonly number[]): number =>
      quantile(
        wasserstein.map((i) => values[i]!),
        0.5,
      )
    return {
      layer,
      matrix,
      before: median(wd),
      random: median(expansion!.randomWd),
      after: median(expansion!.expertWd),
    }
  })
  return {
    id: 'wd-after',
    title: 'Entanglement before and after expansion',
    caption:
      'Median WD of the Wasserstein neurons of each layer: over all tokens (grey), on the tokens of each expert weighted by their share (coloured), and on random groups of the same sizes (dashed), which is what splitting alone would do.',
    panels: namesOf(data).map((name) => {
      const rows = data.filter(({ matrix }) => matrix === name)
      return {
        title: short(name),
        svg: draw(
          `WD of ${short(name)} before and after expansion by layer`,
          { x: { label: 'layer', tickFormat: 'd' }, y: { label: 'WD', zero: true, grid: true } },
          [
            Plot.lineY(rows, { x: 'layer', y: 'before', stroke: COLORS.faint, strokeWidth: 2 }),
            Plot.lineY(rows, { x: 'layer', y: 'random', stroke: COLORS.faint, strokeDasharray: '4 3' }),
            Plot.lineY(rows, { x: 'layer', y: 'after', stroke: COLORS[name], strokeWidth: 2 }),
          ],
        ),
      }
    }),
    titles: ['layer', 'matrix', 'all_tokens', 'random_groups', 'experts'],
    rows: data.map((d) => [d.layer, d.matrix, d.before, d.random, d.after]),
  }
}

function improvement(report: EntangleReport): Figure {
  const panels = namesOf(report.matrices).map((name) => {
    const all = ofName(report, name).flatMap(({ layer, matrix, wd, expansion }) =>
      wd.map((value, neuron) => ({ layer, matrix, neuron, wd: value, ri: expansion!.ri[neuron]! })),
    )
    const fit = linearFit(
      all.map(({ wd }) => wd),
      all.map(({ ri }) => ri),
    )
    return { name, fit, points: thinned(all.filter(({ wd, ri }) => Number.isFinite(wd) && Number.isFinite(ri))) }
  })
  return {
    id: 'wd-ri',
    title: 'Do entangled neurons gain more?',
    caption: `Relative improvement (RI) of every neuron: output error of one expert over output error of the mixture; 1 is no gain. The line is the least squares fit over all neurons: ${panels.map(({ name, fit }) => `R² ${shown(fit.r2)} in ${short(name)}`).join(', ')}.`,
    panels: panels.map(({ name, fit, points }) => {
      const far = quantile(
        points.map(({ wd }) => wd),
        1,
      )
      const line = [0, far].map((wd) => ({ wd, ri: fit.intercept + fit.slope * wd }))
      return {
        title: short(name),
        svg: draw(
          `RI of ${short(name)} neurons against WD`,
          { x: { label: 'WD', grid: true }, y: { label: 'RI', grid: true } },
          [
            Plot.ruleY([1], { stroke: COLORS.faint }),
            Plot.dot(points, { x: 'wd', y: 'ri', r: 1.6, fill: COLORS[name], fillOpacity: 0.5 }),
            Plot.lineY(line, { x: 'wd', y: 'ri', stroke: 'currentColor' }),
          ],
        ),
      }
    }),
    titles: ['layer', 'matrix', 'neuron', 'wd', 'ri'],
    rows: panels.flatMap(({ points }) => points.map((p) => [p.layer, p.matrix, p.neuron, p.wd, p.ri])),
  }
}

function errors(report: EntangleReport): Figure {
  const data = report.matrices.flatMap(({ layer, matrix, expansion }) =>
    expansion!.errorPerExpert.map((error, expert) => ({ layer, matrix, expert, error })),
  )
  return {
    id: 'expert-error',
    title: 'Error of each expert',
    caption:
      'Root mean square error of the outputs over their root mean square, each dot one expert on its own tokens. An expert far above the others has a cluster that is hard to prune, or too few tokens.',
    panels: namesOf(data).map((name) => ({
      title: short(name),
      svg: draw(
        `Error of ${short(name)} experts by layer`,
        { x: { label: 'layer', tickFormat: 'd' }, y: { label: 'relative error', zero: true, grid: true } },
        [
          Plot.dot(
            data.filter(({ matrix }) => matrix === name),
            { x: 'layer', y: 'error', r: 2, fill: COLORS[name], fillOpacity: 0.6 },
          ),
        ],
      ),
    })),
    titles: ['layer', 'matrix', 'expert', 'error'],
    rows: data.map((d) => [d.layer, d.matrix, d.expert, d.error]),
  }
}

function zeros(report: EntangleReport): Figure {
  const data = namesOf(report.matrices).map((name) => ({
    name,
    points: thinned(
      ofName(report, name).flatMap(({ layer, wd, expansion }) =>
        wd.map((value, neuron) => ({ layer, neuron, wd: value, zeros: expansion!.sparsity[neuron]! })),
      ),
    ).filter(({ wd }) => Number.isFinite(wd)),
  }))
  return {
    id: 'row-sparsity',
    title: 'Pruning gives entangled neurons more or fewer zeros',
    caption:
      'Share of zero weights of every neuron over all experts, against its WD. The solver may take more weights from one row than from another; where dots rise to the right, entangled neurons lose more.',
    panels: data.map(({ name, points }) => ({
      title: short(name),
      svg: draw(
        `Zeros of ${short(name)} neurons against WD`,
        { x: { label: 'WD', grid: true }, y: { label: 'zeros', grid: true, tickFormat: '%' } },
        [Plot.dot(points, { x: 'wd', y: 'zeros', r: 1.6, fill: COLORS[name], fillOpacity: 0.5 })],
      ),
    })),
    titles: ['layer', 'matrix', 'neuron', 'wd', 'zeros'],
    rows: data.flatMap(({ name, points }) => points.map((p) => [p.layer, name, p.neuron, p.wd, p.zeros])),
  }
}

function tokens(report: EntangleReport): Figure {
  const data = report.mixture!.layers.flatMap(({ layer, tokensPerExpert }) => {
    const total = tokensPerExpert.reduce((sum, n) => sum + n, 0)
    return tokensPerExpert.toSorted((a, b) => b - a).map((n, rank) => ({ layer, rank, tokens: n, share: n / total }))
  })
  return {
    id: 'tokens-per-expert',
    title: 'Tokens per expert',
    caption:
      'Share of the tokens that each expert serves, the largest at the bottom. Even layers have stripes of one height.',
    panels: [
      {
        svg: draw(
          'Share of tokens per expert by layer',
          {
            width: 720,
            height: 240,
            x: { label: 'layer', tickFormat: 'd' },
            y: { label: 'share of tokens', tickFormat: '%' },
          },
          [
            Plot.barY(data, {
              x: 'layer',
              y: 'share',
              fill: COLORS.gate_proj,
              fillOpacity: (d: { rank: number }) => (d.rank % 2 === 0 ? 0.8 : 0.45),
              order: 'rank',
            }),
          ],
        ),
      },
    ],
    titles: ['layer', 'rank', 'tokens', 'share'],
    rows: data.map((d) => [d.layer, d.rank, d.tokens, d.share]),
  }
}

function usage(report: EntangleReport): Figure {
  const domains = Object.keys(report.text.domains)
  const data = report.mixture!.layers.flatMap(({ layer, usage: table, tokensPerExpert }) => {
    const total = tokensPerExpert.reduce((sum, n) => sum + n, 0)
    return table.map((row, d) => {
      const own = row.reduce((sum, n) => sum + n, 0)
      // Total variation between the experts that a domain uses and those that all tokens use.
      const distance = row.reduce((sum, n, e) => sum + Math.abs(n / own - tokensPerExpert[e]! / total), 0) / 2
      return { layer, domain: domains[d]!, distance }
    })
  })
  return {
    id: 'domain-usage',
    title: 'Experts by domain',
    caption:
      'How much the experts that a domain uses differ from those that all text uses: 0 means the same experts in the same shares, 1 means none in common.',
    panels: [
      {
        svg: draw(
          'Difference of expert usage by domain and layer',
          {
            width: 720,
            height: Math.max(120, 28 * domains.length + 60),
            marginLeft: 90,
            x: { label: 'layer', tickFormat: 'd' },
            y: { label: null },
            opacity: { domain: [0, 1], range: [0.05, 1] },
          },
          [
            Plot.cell(data, {
              x: 'layer',
              y: 'domain',
              fill: COLORS.strong,
              fillOpacity: 'distance',
              title: (d: { layer: number; domain: string; distance: number }) =>
                `layer ${d.layer}, ${d.domain}: ${shown(d.distance)}`,
            }),
          ],
        ),
      },
    ],
    titles: ['layer', 'domain', 'difference'],
    rows: data.map((d) => [d.layer, d.domain, d.distance]),
  }
}

function margins(report: EntangleReport): Figure {
  const data = report.mixture!.layers.map(({ layer, margin }) => ({
    layer,
    p10: margin[0],
    p50: margin[1],
    p90: margin[2],
  }))
  const [, widest] = quantiles(
    data.map(({ p90 }) => p90),
    [0, 1],
  )
  return {
    id: 'router-margin',
    title: 'How sure the router is',
    caption:
      'Distance of a token from the border between its two best experts, over the root mean square norm of the layer’s inputs: the median token and the middle 80 %. Near 0, small changes of the input change the expert.',
    panels: [
      {
        svg: draw(
          'Router margin by layer',
          {
            width: 720,
            x: { label: 'layer', tickFormat: 'd' },
            y: { label: 'margin', domain: [0, widest!], grid: true },
          },
          [
            Plot.areaY(data, { x: 'layer', y1: 'p10', y2: 'p90', fill: COLORS.strong, fillOpacity: 0.2 }),
            Plot.lineY(data, { x: 'layer', y: 'p50', stroke: COLORS.strong, strokeWidth: 2 }),
          ],
        ),
      },
    ],
    titles: ['layer', 'p10', 'median', 'p90'],
    rows: data.map((d) => [d.layer, d.p10, d.p50, d.p90]),
  }
}
