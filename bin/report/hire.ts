import type { HireResult, VerifyResult } from '../../src/index.ts'
import { count, digits, percent } from '../format.ts'
import { table } from '../table.ts'

type Times = NonNullable<HireResult['speed']>['chosen']
type Sides = Times['model']

const SPEED_COLUMNS = ['density', 'without ms', 'stock ms', '', 'native ms', '']

/** Times of one token: a row for each part. */
export function hireSpeedTable(
  rows: readonly { readonly cells: readonly [string, string]; readonly sides: Sides }[],
): string {
  const lines = rows.map(({ cells, sides: { without, stock, native } }) => [
    ...cells,
    digits(without.medianMs, 3),
    ...[stock, native].flatMap((side) =>
      side ? [digits(side.medianMs, 3), `${digits(without.medianMs / side.medianMs, 3)}x`] : ['-', '-'],
    ),
  ])
  return table([{ title: '', align: 'left' }, ...SPEED_COLUMNS.map((title) => ({ title }))], lines)
}

/** Rows of the parts of one form. */
export function timesRows(
  { ff, softmax, model }: Times,
  density: string,
): { readonly cells: readonly [string, string]; readonly sides: Sides }[] {
  return [
    ...(ff ? [{ cells: ['FF layers', density] as const, sides: ff }] : []),
    ...(softmax ? [{ cells: ['softmax', density] as const, sides: softmax }] : []),
    { cells: ['model', density] as const, sides: model },
  ]
}

/** The section of `verify` about HiRE. */
export function hireSection({ hire }: VerifyResult): string {
  if (!hire) return ''
  const { parts, parity, logits, quality, speed, threads, rounds, provider, providerChosen } = hire
  const lines = parity.map(
    ({ provider: name, rows, relativeDifference, agreement }) =>
      `  ${name}: ${count(rows)} rows within ${digits(relativeDifference, 2)} of the largest; ${percent(agreement)} of what it ` +
      'selects, decoded predictors select too',
  )
  for (const { provider: name, rows, relativeDifference, kl } of logits)
    lines.push(
      `  ${name}: logits of ${count(rows)} tokens within ${digits(relativeDifference, 2)} of those of cpu, KL ${digits(kl, 2)}`,
    )
  const chosen = providerChosen === undefined ? '' : ` (${providerChosen})`
  const { perplexity, standardError, densePerplexity, kl, topOneAgreement, note } = quality
  return [
    `HiRE, ${count(parts)} parts, against its definition (exact products of what is selected):`,
    ...lines,
    `Quality on ${provider}${chosen}: perplexity ${digits(perplexity, 4)} ± ${digits(standardError, 2)}, ` +
      `${digits(densePerplexity ?? Number.NaN, 4)} without, KL ${digits(kl ?? Number.NaN, 3)}, same top-1 ${percent(topOneAgreement ?? 0)}` +
      `${note === undefined ? '' : ` (${note})`}`,
    `Speed of one token on ${threads} thread${threads === 1 ? '' : 's'}, medians of ${rounds} in turns:`,
    hireSpeedTable(timesRows(speed, 'as chosen')),
  ].join('\n')
}
