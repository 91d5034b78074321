import type { EvaluateResult, VerifyResult } from '../../src/index.ts'
import { count, digits, percent } from '../format.ts'
import { table } from '../table.ts'

type Sides = NonNullable<NonNullable<VerifyResult['griffin']>['speed']>['ff']

/** What GRIFFIN left out, and what that costs. */
export function griffinLines({ griffin }: EvaluateResult): string[] {
  if (!griffin) return []
  const { densities, scores, select, promptTokens, all, copy } = griffin
  const mean = densities.reduce((sum, density) => sum + density, 0) / densities.length
  return [
    `GRIFFIN: ${percent(mean)} of the neurons by ${scores}, ${select}, chosen by the first ${count(promptTokens)} tokens of each window; ` +
      'targets are those behind them',
    `With all neurons: perplexity ${digits(all.perplexity, 4)}${all.kl === undefined ? '' : `, KL ${digits(all.kl, 3)}`}`,
    `Copied tokens of ${count(copy.passages)} passages of ${count(copy.passageTokens)}: ${percent(copy.skipping.accuracy)}, with all ` +
      `neurons ${percent(copy.all.accuracy)}`,
  ]
}

/** Times of one token: a row for the FF layers and one for the model, with the columns in front of them. */
export function speedTable(rows: readonly { readonly cells: readonly string[]; readonly sides: Sides }[]): string {
  const columns = ['density', 'all ms', 'gathered ms', '', 'native ms', ''].map((title) => ({ title }))
  const lines = rows.map(({ cells, sides: { dense, gathered, native } }) => [
    ...cells,
    digits(dense.medianMs, 3),
    digits(gathered.medianMs, 3),
    `${digits(dense.medianMs / gathered.medianMs, 3)}x`,
    native ? digits(native.medianMs, 3) : '-',
    native ? `${digits(dense.medianMs / native.medianMs, 3)}x` : '-',
  ])
  return table([{ title: '', align: 'left' }, ...columns], lines)
}

/** The section of `verify --griffin`. */
export function griffinSection({ griffin }: VerifyResult): string {
  if (!griffin) return ''
  const { quality, speed, speedNote } = griffin
  const { densities } = quality.griffin!
  const mean = percent(densities.reduce((sum, density) => sum + density, 0) / densities.length)
  const lines = [
    ...griffinLines(quality),
    `With those: perplexity ${digits(quality.perplexity, 4)}${quality.kl === undefined ? '' : `, KL ${digits(quality.kl, 3)}`}`,
  ]
  if (speed)
    lines.push(
      `Speed of one token on ${speed.threads} thread${speed.threads === 1 ? '' : 's'}, medians of ${speed.rounds} in turns:`,
      speedTable([
        { cells: ['FF layers', mean], sides: speed.ff },
        { cells: ['model', mean], sides: speed.model },
      ]),
    )
  if (speedNote !== undefined) lines.push(`Speed: ${speedNote}`)
  return lines.join('\n')
}
