import type { HirePredictor, HireResult } from '../../src/index.ts'
import { bytes, count, digits, percent } from '../format.ts'
import { table } from '../table.ts'
import { hireSpeedTable, timesRows } from './hire.ts'

/** The result of `predict --hire` as text: what was chosen, what a token reads, and what it costs. */
export function hireReport(result: HireResult): string {
  const { hire, quality, chosenKl, out } = result
  const { calibrationTokens, choosingTokens } = hire.text
  const parts = [
    `HiRE on ${result.model}: ${count(calibrationTokens)} calibration tokens, chosen on ${count(choosingTokens)} others`,
    choiceTable(result),
    `recall: share of the k that count among the k' predicted. ${keptText(hire.keep)}`,
    `A token reads ${readText('FF weights', result.bytes.ff)}, ${readText('of the head', result.bytes.head)}.`,
  ]
  if (chosenKl !== undefined) parts.push(`KL of the FF layers on the choosing text: ${digits(chosenKl, 3)} nats`)
  if (quality)
    parts.push(
      `Measured on the written files, ${count(quality.targets)} targets: perplexity ${digits(quality.perplexity, 4)} ` +
        `± ${digits(quality.standardError, 2)} (without HiRE ${digits(quality.densePerplexity!, 4)}), ` +
        `KL ${digits(quality.kl!, 3)} nats, same top-1 ${percent(quality.topOneAgreement!)}`,
    )
  if (result.tables) parts.push(densityTable(result.tables))
  if (result.speed) parts.push(speedText(result.speed))
  if (result.shards) parts.push(shardText(result.shards, hire.softmax!.k))
  if (out !== undefined) parts.push(`Wrote ${out}`)
  return `${parts.join('\n\n')}\n`
}

function choiceTable({ hire }: HireResult): string {
  const rows = hire.layers.map((one) => [String(one.layer), ...choiceCells(one)])
  if (hire.softmax) rows.push(['softmax', ...choiceCells(hire.softmax)])
  return table(
    [{ title: 'block' }, { title: 'predictor', align: 'left' }, { title: 'k' }, { title: "k'" }, { title: 'recall' }],
    rows,
  )
}

function choiceCells(one: { predictor: HirePredictor; k: number; kPrime: number; recall: number }): string[] {
  return [nameOf(one.predictor), count(one.k), count(one.kPrime), one.recall.toFixed(4)]
}

function densityTable(rows: NonNullable<HireResult['tables']>): string {
  return table(
    [
      { title: "computed (k')" },
      { title: 'perplexity' },
      { title: '± s.e.' },
      { title: 'KL (nats)' },
      { title: 'same top-1' },
      { title: 'recall of k = half' },
    ],
    rows.map(({ density, quality, recall }) => [
      percent(density),
      digits(quality.perplexity, 4),
      digits(quality.standardError, 2),
      digits(quality.kl ?? 0, 3),
      percent(quality.topOneAgreement ?? 1),
      recall.toFixed(3),
    ]),
  )
}

function speedText({ threads, rounds, chosen, rows, nativeMissing }: NonNullable<HireResult['speed']>): string {
  const head = `Speed of one token on ${threads} thread${threads === 1 ? '' : 's'}, medians of ${rounds} in turns, predictors included:`
  const lines = [
    ...timesRows(chosen, 'as chosen'),
    ...rows.flatMap(({ density, ff, model }) => timesRows({ ff, model }, percent(density))),
  ]
  const missing = nativeMissing === undefined ? '' : `\nNot measured: ${nativeMissing}`
  return `${head}\n${hireSpeedTable(lines)}${missing}`
}

/** Slacks side by side: contiguous rows, and rows dealt out in turn. */
function shardText(rows: NonNullable<HireResult['shards']>, k: number): string {
  const slacks = [...new Set(rows.map(({ slack }) => slack))]
  const columns = slacks.flatMap((slack) => [`slack ${slack}`, 'dealt', 'bytes'])
  const lines = [...new Set(rows.map(({ shards }) => shards))].map((shards) => [
    String(shards),
    ...slacks.flatMap((slack) => {
      const row = rows.find((one) => one.shards === shards && one.slack === slack)
      return row ? [row.contiguous.toFixed(3), row.dealt.toFixed(3), count(row.bytes)] : ['-', '-', '-']
    }),
  ])
  return (
    `Recall of the ${count(k)} largest logits over shards (DA-TOP-k): contiguous rows, rows dealt out in turn, bytes sent:\n` +
    table([{ title: 'shards' }, ...columns.map((title) => ({ title }))], lines)
  )
}

function nameOf(predictor: HirePredictor): string {
  return predictor.kind === 'lr' ? `rank ${predictor.rank}` : `int${predictor.bits}, groups of ${predictor.groupSize}`
}

function keptText(keep: 'all' | 'k'): string {
  return keep === 'all' ? "All k' are kept." : "Of the k', the k largest are kept."
}

function readText(what: string, [dense, ours]: readonly [number, number]): string {
  return ours === dense ? `${bytes(dense)} ${what}` : `${bytes(ours)} ${what} instead of ${bytes(dense)}`
}
