import { normalDensity } from '../entangle/normal.ts'
import { descending, linearFit, quantiles } from '../entangle/ranking.ts'
import type { EntangleReport, MatrixName, MatrixReport } from '../entangle/types.ts'
import { COLORS, draw, Plot } from './draw.ts'
import type { Figure } from './figure.ts'
import { namesOf, ofName } from './select.ts'
import { anchor, short, shown } from './text.ts'

/** Points of a scatter plot: more would only make the page heavy. */
export const MAX_POINTS = 1200
/** Neurons drawn with the histogram of their outputs. */
const DRAWN = 9

/** The figures that every report has. */
export function denseFigures(report: EntangleReport): Figure[] {
  return [byLayer(report), distribution(report), shapes(report), difficulty(report)]
}

function byLayer(report: EntangleReport): Figure {
  const data = report.matrices.map(({ layer, matrix, wd }) => {
    const [p5, p25, p50, p75, p95, p97, max] = quantiles(wd, [0.05, 0.25, 0.5, 0.75, 0.95, 1 - report.options.top, 1])
    return { layer, matrix, p5: p5!, p25: p25!, p50: p50!, p75: p75!, p95: p95!, p97: p97!, max: max! }
  })
  const top = Math.max(...data.map(({ max }) => max).filter(Number.isFinite))
  return {
    id: 'wd-by-layer',
    title: 'Entanglement by layer',
    caption:
      'Wasserstein distance (WD) between a neuron’s standardised outputs and a normal distribution: 0 is a plain Gaussian neuron. Line: median of the layer; bands: the middle half and the middle 90 %; rings: where the Wasserstein neurons begin; dots: the most entangled neuron.',
    panels: namesOf(report.matrices).map((name) => {
      const rows = data.filter(({ matrix }) => matrix === name)
      const fill = COLORS[name]
      return {
        title: short(name),
        svg: draw(
          `WD of ${short(name)} neurons by layer`,
          { x: { label: 'layer', tickFormat: 'd' }, y: { label: 'WD', domain: [0, top], grid: true } },
          [
            Plot.areaY(rows, { x: 'layer', y1: 'p5', y2: 'p95', fill, fillOpacity: 0.18 }),
            Plot.areaY(rows, { x: 'layer', y1: 'p25', y2: 'p75', fill, fillOpacity: 0.35 }),
            Plot.lineY(rows, { x: 'layer', y: 'p50', stroke: fill, strokeWidth: 2 }),
            Plot.dot(rows, { x: 'layer', y: 'p97', stroke: fill, r: 2.5, tip: false }),
            Plot.dot(rows, {
              x: 'layer',
              y: 'max',
              fill,
              r: 2.5,
              title: (d: { layer: number; max: number }) => `layer ${d.layer}: ${shown(d.max)}`,
            }),
          ],
        ),
      }
    }),
    titles: ['layer', 'matrix', 'p5', 'p25', 'median', 'p75', 'p95', 'wasserstein_from', 'max'],
    rows: data.map((d) => [d.layer, d.matrix, d.p5, d.p25, d.p50, d.p75, d.p95, d.p97, d.max]),
  }
}

function distribution(report: EntangleReport): Figure {
  const intervals = 40
  const all = report.matrices.flatMap(({ wd }) => wd.filter(Number.isFinite))
  const limit = all.reduce((max, wd) => Math.max(max, wd), 0)
  const data = namesOf(report.matrices).map((name) => {
    const neurons = Array.from({ length: intervals }, () => 0)
    for (const { wd } of ofName(report, name))
      for (const value of wd)
        if (Number.isFinite(value)) neurons[Math.min(intervals - 1, Math.floor((value / limit) * intervals))]!++
    const bars = neurons.map((n, i) => ({ from: (i * limit) / intervals, to: ((i + 1) * limit) / intervals, n }))
    return { name, bars }
  })
  return {
    id: 'wd-distribution',
    title: 'How many neurons are entangled',
    caption:
      'Number of neurons by WD over all layers, on a logarithmic scale: most neurons lie on the left, a small tail of strongly entangled ones on the right.',
    panels: data.map(({ name, bars }) => ({
      title: short(name),
      svg: draw(
        `Number of ${short(name)} neurons by WD`,
        { x: { label: 'WD', domain: [0, limit] }, y: { type: 'log', label: 'neurons', grid: true, tickFormat: '~s' } },
        [
          Plot.rectY(
            bars.filter(({ n }) => n > 0),
            { x1: 'from', x2: 'to', y1: 0.7, y2: 'n', fill: COLORS[name], inset: 0.5 },
          ),
        ],
      ),
    })),
    titles: ['matrix', 'from', 'to', 'neurons'],
    rows: data.flatMap(({ name, bars }) => bars.map(({ from, to, n }) => [name, from, to, n])),
  }
}

function shapes(report: EntangleReport): Figure {
  const drawn = report.matrices.flatMap(({ layer, matrix, wd, shapes: list }) =>
    list.map(({ neuron, shares }) => ({ layer, matrix, neuron, wd: wd[neuron]!, shares })),
  )
  const chosen = descending(drawn.map(({ wd }) => wd))
    .slice(0, DRAWN)
    .map((i) => drawn[i]!)
  return {
    id: 'outputs',
    title: 'The most entangled neurons',
    caption:
      'Outputs of single neurons in standard deviations around their mean (area), against a normal distribution (line). The further the area is from the line, the harder it is to prune the neuron for all tokens at once.',
    panels: chosen.map(({ layer, matrix, neuron, wd, shares }) => {
      const width = 8 / shares.length
      const bars = shares.map((value, i) => ({ z: -4 + (i + 0.5) * width, density: value / width }))
      const normal = bars.map(({ z }) => ({ z, density: normalDensity(z) }))
      return {
        title: `layer ${layer} ${short(matrix)} ${neuron}: WD ${shown(wd)}`,
        href: anchor(layer, matrix, neuron),
        svg: draw(
          `Outputs of layer ${layer} ${short(matrix)} neuron ${neuron}, WD ${shown(wd)}`,
          { height: 170, x: { label: 'standard deviations' }, y: { label: 'density', ticks: 4 } },
          [
            Plot.areaY(bars, { x: 'z', y: 'density', fill: COLORS[matrix], fillOpacity: 0.5, curve: 'step' }),
            Plot.lineY(normal, { x: 'z', y: 'density', stroke: 'currentColor' }),
          ],
        ),
      }
    }),
    titles: ['layer', 'matrix', 'neuron', 'wd', 'z', 'share'],
    rows: chosen.flatMap(({ layer, matrix, neuron, wd, shares }) =>
      shares.map((value, i) => [layer, matrix, neuron, wd, -4 + ((i + 0.5) * 8) / shares.length, value]),
    ),
  }
}

function difficulty(report: EntangleReport): Figure {
  const fits = namesOf(report.matrices).map((name) => {
    const matrices = ofName(report, name)
    return {
      name,
      ...linearFit(
        matrices.flatMap(({ wd }) => wd),
        matrices.flatMap(({ md }) => md.map(Math.log)),
      ),
    }
  })
  const points = namesOf(report.matrices).flatMap((name) => thinned(ofName(report, name).flatMap((m) => pointsOf(m))))
  return {
    id: 'wd-md',
    title: 'Entanglement and mapping difficulty',
    caption: `Mapping difficulty (MD) says how far apart a neuron must send inputs that lie close together. Entangled neurons tend to have the harder mappings; WD explains ${fits.map(({ name, r2 }) => `${shown(r2 * 100)} % of the variance of log MD in ${short(name)}`).join(', ')}. At most ${MAX_POINTS} neurons a panel are drawn.`,
    panels: namesOf(report.matrices).map((name) => ({
      title: short(name),
      svg: draw(
        `MD of ${short(name)} neurons against WD`,
        { x: { label: 'WD', grid: true }, y: { type: 'log', label: 'MD', grid: true, tickFormat: '~r' } },
        [
          Plot.dot(
            points.filter(({ matrix }) => matrix === name),
            { x: 'wd', y: 'md', r: 1.6, fill: COLORS[name], fillOpacity: 0.5 },
          ),
        ],
      ),
    })),
    titles: ['layer', 'matrix', 'neuron', 'wd', 'md'],
    rows: points.map(({ layer, matrix, neuron, wd, md }) => [layer, matrix, neuron, wd, md]),
  }
}

function pointsOf({
  layer,
  matrix,
  wd,
  md,
}: MatrixReport): { layer: number; matrix: MatrixName; neuron: number; wd: number; md: number }[] {
  return wd
    .map((value, neuron) => ({ layer, matrix, neuron, wd: value, md: md[neuron]! }))
    .filter((point) => Number.isFinite(point.wd) && point.md > 0)
}

/** Every n-th of a list, so that at most MAX_POINTS are left. */
export function thinned<T>(list: readonly T[]): T[] {
  const step = Math.max(1, Math.ceil(list.length / MAX_POINTS))
  return list.filter((_, i) => i % step === 0)
}
