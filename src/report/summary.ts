import { linearFit, quantile, quantiles } from '../entangle/ranking.ts'
import type { EntangleReport, MatrixReport } from '../entangle/types.ts'
import { experimentFindings } from './experiment-findings.ts'
import { namesOf, ofName } from './select.ts'
import { count, share, short, shown } from './text.ts'

/** What a report says, in plain words, and what to try next. */
export type Summary = { readonly findings: readonly string[]; readonly advice: readonly string[] }

/** Findings and advice of a report; every number in them is in the report. */
export function summarize(report: EntangleReport): Summary {
  const findings = [
    ...entangled(report),
    ...(report.mixture ? expanded(report) : []),
    ...(report.experiments ? experimentFindings(report.experiments) : []),
  ]
  return { findings, advice: report.mixture ? mixtureAdvice(report) : denseAdvice(report) }
}

function entangled(report: EntangleReport): string[] {
  const all = report.matrices.flatMap(({ wd }) => wd)
  const [median, p99] = quantiles(all, [0.5, 0.99])
  const marked = report.matrices.reduce((sum, { wasserstein }) => sum + wasserstein.length, 0)
  const worst = report.matrices.reduce((a, b) => (largest(b) > largest(a) ? b : a))
  const neuron = worst.wasserstein[0] ?? 0
  const heavy = layersByMedian(report)
  return [
    `The outputs of a typical neuron are ${shown(median!)} away from a normal distribution (Wasserstein distance, in standard deviations); one in a hundred is further than ${shown(p99!)}. ${count(marked)} of ${count(all.length)} neurons count as Wasserstein neurons, the top ${share(report.options.top)} of their matrix.`,
    `The most entangled one is neuron ${neuron} of ${short(worst.matrix)} in layer ${worst.layer}, with a distance of ${shown(largest(worst))}.`,
    `By matrix, the median is ${namesOf(report.matrices)
      .map(
        (name) =>
          `${shown(
            quantile(
              ofName(report, name).flatMap(({ wd }) => wd),
              0.5,
            ),
          )} in ${short(name)}`,
      )
      .join(', ')}; by layer it is highest in ${heavy
      .slice(0, 3)
      .map(({ layer, median: m }) => `layer ${layer} (${shown(m)})`)
      .join(', ')} and lowest in layer ${heavy.at(-1)!.layer} (${shown(heavy.at(-1)!.median)}).`,
  ]
}

function expanded(report: EntangleReport): string[] {
  const { experts, baseline } = report.mixture!
  const pairs = report.matrices.flatMap((matrix) =>
    matrix.wd.map((wd, i) => ({
      wd,
      split: matrix.expansion!.expertWd[i]!,
      random: matrix.expansion!.randomWd[i]!,
      ri: matrix.expansion!.ri[i]!,
      top: matrix.wasserstein.includes(i),
    })),
  )
  const top = pairs.filter((pair) => pair.top)
  const lower = (list: typeof pairs): number =>
    list.filter(({ wd, split }) => split < wd).length / list.filter(({ split }) => Number.isFinite(split)).length
  const change = (list: typeof pairs, of: 'split' | 'random'): number =>
    quantile(
      list.map((pair) => pair[of] / pair.wd - 1),
      0.5,
    )
  const fit = linearFit(
    pairs.map(({ wd }) => wd),
    pairs.map(({ ri }) => ri),
  )
  const topRi = quantile(
    top.map(({ ri }) => ri),
    0.5,
  )
  const allRi = quantile(
    pairs.map(({ ri }) => ri),
    0.5,
  )
  return [
    `Split over ${experts} experts, the distance of a Wasserstein neuron on the tokens of each expert is lower for ${share(lower(top))} of them (median change ${signed(change(top, 'split'))}); random groups of the same sizes change it by ${signed(change(top, 'random'))}.`,
    `One expert for all tokens has ${shown(allRi)} times the output error of the mixture (median neuron), ${shown(topRi)} times for Wasserstein neurons. WD explains ${shown(fit.r2 * 100)} % of the variance of this gain over all neurons (R² ${shown(fit.r2)}, slope ${shown(fit.slope)}). Baseline: ${baseline}.`,
    fit.slope > 0 && topRi > allRi
      ? 'Entangled neurons gain more from expansion than others here: the finding of the Sparse Expansion paper holds on this model.'
      : 'Entangled neurons do not gain more from expansion than others here: the finding of the Sparse Expansion paper does not hold on this model.',
  ]
}

function denseAdvice(report: EntangleReport): string[] {
  const heavy = layersByMedian(report)
    .slice(0, Math.max(1, Math.round(report.shape.layers / 8)))
    .map(({ layer }) => layer)
    .sort((a, b) => a - b)
  return [
    `Expansion should have most to give where entanglement is high (layer ${heavy.join(', ')}): compare \`spexpand compress --experts 16\` with \`--experts 1\` at the sparsity you need, then run \`spexpand entangle\` on the artifact.`,
    'Spare these layers first when quality is lost too quickly at high sparsity.',
  ]
}

function mixtureAdvice(report: EntangleReport): string[] {
  const { layers } = report.mixture!
  const fewest = Math.min(...layers.flatMap(({ tokensPerExpert }) => tokensPerExpert))
  const wanted = report.shape.ff
  const gain = layers.map(({ layer }) => ({
    layer,
    ri: quantile(
      report.matrices.filter((m) => m.layer === layer).flatMap((m) => m.expansion!.ri),
      0.5,
    ),
  }))
  const best = gain.toSorted((a, b) => b.ri - a.ri)
  const advice = [
    `Experts help most in layer ${best
      .slice(0, 3)
      .map(({ layer, ri }) => `${layer} (${shown(ri)}x)`)
      .join(', ')} and least in layer ${best.at(-1)!.layer} (${shown(best.at(-1)!.ri)}x).`,
  ]
  if (fewest < wanted)
    advice.push(
      `The smallest expert saw ${count(fewest)} tokens, fewer than the ${count(wanted)} inputs of down: calibrate on more tokens, or try fewer experts.`,
    )
  else advice.push(`Every expert saw at least ${count(fewest)} tokens: there is room for more experts.`)
  return advice
}

/** Layers by falling median WD of all their neurons. */
export function layersByMedian(report: EntangleReport): { layer: number; median: number }[] {
  return Array.from({ length: report.shape.layers }, (_, layer) => ({
    layer,
    median: quantile(
      report.matrices.filter((m) => m.layer === layer).flatMap(({ wd }) => wd),
      0.5,
    ),
  })).sort((a, b) => b.median - a.median || a.layer - b.layer)
}

function largest({ wd, wasserstein }: MatrixReport): number {
  return wasserstein.length > 0 ? wd[wasserstein[0]!]! : -1
}

function signed(value: number): string {
  return `${value > 0 ? '+' : ''}${share(value)}`
}
