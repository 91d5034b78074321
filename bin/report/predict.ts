import type { PredictResult, Quality } from '../../src/index.ts'
import { count, digits, percent } from '../format.ts'
import { table } from '../table.ts'
import { speedTable } from './griffin.ts'

/** The result of `predict --griffin` as text: quality by density, then the layers. */
export function predictReport({ griffin, file, page, amended, speed }: PredictResult): string {
  const { windows, sequenceLength, promptTokens } = griffin.text
  const parts = [
    `GRIFFIN on ${griffin.source.name}: ${count(windows)} windows of ${count(sequenceLength)} tokens, the first ` +
      `${count(promptTokens)} of each dense and the prompt, quality measured on the others`,
    qualityTable(griffin),
    layerTable(griffin),
    griffin.reference === 'self'
      ? 'KL and top-1 are against the artifact with all neurons: --dense gives its source.'
      : '',
    'density: neurons kept. copied: tokens of passages that come a second time. prompts, continuation, chance: Jaccard index of the sets of two prompts, of a prompt and what\n' +
      'follows it, and of random sets of that size.',
  ]
  if (griffin.schedule) {
    const { quality, klBudget, undone, heldOut } = griffin.schedule
    const back = undone > 0 ? `, ${count(undone)} steps taken back` : ''
    parts.push(
      `Schedule within ${digits(klBudget, 3)} nats, on ${count(heldOut)} windows that it was not chosen on: perplexity ${digits(quality.perplexity, 4)}, KL ${digits(quality.kl!, 3)}${back}`,
    )
  }
  if (speed) parts.push(speedSection(speed))
  if (amended !== undefined) parts.push(`Amended ${amended}: spexpand.json, model.onnx, weight files, ${page}`)
  else if (file !== undefined) parts.push(`Wrote ${file} and ${page}`)
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

function qualityTable({ dense, quality, copy, scores, select }: PredictResult['griffin']): string {
  const copied = (by: string, density: number): string => {
    const row =
      by === 'all'
        ? copy.all
        : by === nameOf(scores, select)
          ? copy.densities.find((one) => one.density === density)
          : undefined
    return row ? percent(row.accuracy) : '-'
  }
  const row = (by: string, density: number, one: Quality): string[] => [
    ...qualityRow(by, density, one),
    copied(by, density),
  ]
  return table(
    [
      { title: 'neurons by', align: 'left' },
      { title: 'density' },
      { title: 'perplexity' },
      { title: '± s.e.' },
      { title: 'KL (nats)' },
      { title: 'same top-1' },
      { title: 'copied' },
    ],
    [row('all', 1, dense), ...quality.map((one) => row(nameOf(one.scores, one.select), one.density, one.quality))],
  )
}

/** 'statistic', or with a method that draws 'statistic, sample'. */
function nameOf(scores: string, select: string): string {
  return select === 'top-k' ? scores : `${scores}, ${select}`
}

function qualityRow(name: string, density: number, quality: Quality): string[] {
  const { perplexity, standardError, kl = 0, topOneAgreement = 1 } = quality
  return [
    name,
    percent(density),
    digits(perplexity, 4),
    digits(standardError, 2),
    digits(kl, 3),
    percent(topOneAgreement),
  ]
}

function speedSection({ threads, rounds, nativeMissing, rows }: NonNullable<PredictResult['speed']>): string {
  const head = `Speed of one token on ${threads} thread${threads === 1 ? '' : 's'}, medians of ${rounds} in turns`
  const lines = rows.flatMap(({ density, ff, model }) => [
    { cells: ['FF layers', percent(density)], sides: ff },
    { cells: ['model', percent(density)], sides: model },
  ])
  return `${head}:\n${speedTable(lines)}${nativeMissing === undefined ? '' : `\nNot measured: ${nativeMissing}`}`
}

function layerTable({ flocking, densities }: PredictResult['griffin']): string {
  return table(
    [{ title: 'block' }, { title: 'density' }, { title: 'prompts' }, { title: 'continuation' }, { title: 'chance' }],
    flocking.map(({ layer, betweenPrompts, promptToContinuation, chance }) => [
      String(layer),
      percent(densities[layer]!),
      betweenPrompts.toFixed(3),
      promptToContinuation.toFixed(3),
      chance.toFixed(3),
    ]),
  )
}
