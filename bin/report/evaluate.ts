import type { EvaluateResult, Quality } from '../../src/index.ts'
import { count, digits, duration, percent } from '../format.ts'
import { table } from '../table.ts'
import { griffinLines } from './griffin.ts'

/** The result of `eval` as text: one row for all targets, one for each domain. */
export function evaluateReport(result: EvaluateResult): string {
  const head = `${result.model}: ${count(result.windows)} windows of ${count(result.sequenceLength)} tokens`
  const tail = [...griffinLines(result), `Computed by ${result.runtime} in ${duration(result.wallMs)}`]
  if (result.note !== undefined) tail.push(`Note: ${result.note}`)
  return `${head}\n\n${qualityTable(result)}\n\n${tail.join('\n')}\n`
}

/** Perplexity, distance and agreement, all targets first and then by domain; '-' where no dense model was there. */
export function qualityTable(result: EvaluateResult): string {
  const domains = Object.entries(result.domains)
  const rows = [qualityRow('all', result), ...domains.map(([name, quality]) => qualityRow(name, quality))]
  return table(
    [
      { title: 'text', align: 'left' },
      { title: 'targets' },
      { title: 'perplexity' },
      { title: '± s.e.' },
      { title: 'dense' },
      { title: 'KL (nats)' },
      { title: 'same top-1' },
    ],
    // With one domain its row would only repeat the first.
    domains.length > 1 ? rows : rows.slice(0, 1),
  )
}

function qualityRow(name: string, quality: Quality): string[] {
  const { targets, perplexity, standardError, densePerplexity, kl, topOneAgreement } = quality
  return [
    name,
    count(targets),
    perplexityText(perplexity),
    // One window has no standard error.
    Number.isNaN(standardError) ? '-' : digits(standardError, 2),
    densePerplexity === undefined ? '-' : perplexityText(densePerplexity),
    kl === undefined ? '-' : digits(kl, 3),
    topOneAgreement === undefined ? '-' : percent(topOneAgreement),
  ]
}

/** Two or more decimals up to 1000: differences between methods are often in the second. */
function perplexityText(perplexity: number): string {
  return perplexity < 1000 ? perplexity.toFixed(2) : count(perplexity)
}
