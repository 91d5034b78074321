import type { PredictResult, Quality } from '../../src/index.ts'
import { count, digits, percent } from '../format.ts'
import { table } from '../table.ts'

/** The result of `predict --griffin` as text: quality by density, then the layers. */
export function predictReport({ griffin, file }: PredictResult): string {
  const { windows, sequenceLength, promptTokens } = griffin.text
  const parts = [
    `GRIFFIN on ${griffin.source.name}: ${count(windows)} windows of ${count(sequenceLength)} tokens, the first ` +
      `${count(promptTokens)} of each dense and the prompt, quality measured on the others`,
    qualityTable(griffin),
    layerTable(griffin),
    'density: neurons kept. prompts, continuation, chance: Jaccard index of the sets of two prompts, of a prompt and what\n' +
      'follows it, and of random sets of that size.',
  ]
  if (griffin.schedule) {
    const { quality, klBudget, undone } = griffin.schedule
    const back = undone > 0 ? `, ${count(undone)} steps taken back` : ''
    parts.push(
      `Schedule within ${digits(klBudget, 3)} nats: perplexity ${digits(quality.perplexity, 4)}, KL ${digits(quality.kl!, 3)}${back}`,
    )
  }
  if (file !== undefined) parts.push(`Wrote ${file}`)
  return `${parts.join('\n\n')}\n`
}

function qualityTable({ dense, quality }: PredictResult['griffin']): string {
  return table(
    [
      { title: 'neurons by', align: 'left' },
      { title: 'density' },
      { title: 'perplexity' },
      { title: '± s.e.' },
      { title: 'KL (nats)' },
      { title: 'same top-1' },
    ],
    [qualityRow('all', 1, dense), ...quality.map((one) => qualityRow(one.scores, one.density, one.quality))],
  )
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
