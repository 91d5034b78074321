import type { VerifyResult } from '../../src/index.ts'
import { bytes, count, digits, duration, percent } from '../format.ts'
import type { Column } from '../table.ts'
import { table } from '../table.ts'
import { griffinSection } from './griffin.ts'
import { hireSection } from './hire.ts'

type Run = NonNullable<VerifyResult['run']>
type Comparison = Run['speed']['ff']['oneToken']

/** The result of `verify` as text: what was checked, what computes alike, quality, speed, and the gates. */
export function verifyReport(result: VerifyResult): string {
  const { run } = result
  const sections = [
    integritySection(result),
    ...(run ? [paritySection(run), qualitySection(run), speedSection(run), bytesSection(run)] : []),
    hireSection(result),
    griffinSection(result),
    gateSection(result),
    `Time: ${duration(result.wallMs)}`,
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function integritySection({ model, integrity }: VerifyResult): string {
  if (!integrity) return `${model}: a dense model`
  const { files, bytes: size, externalTensors, hashedTensors, matrices, experts, weights, nonZero } = integrity
  return [
    `${model}: intact`,
    `  ${count(files)} files, ${bytes(size)}: SHA-256 as in the manifest`,
    hashedTensors > 0
      ? `  ${count(hashedTensors)} tensors and the manifest have checksums of their own: damage would be named`
      : '  written by an older version: no checksums of tensors, so damage would be named by its file, and none of the manifest',
    `  ${count(externalTensors)} tensors of model.onnx lie where the weight files say`,
    matrices === 0
      ? '  a dense model: no experts to decode'
      : `  ${count(experts)} experts of ${count(matrices)} matrices decoded: ${count(weights)} weights, ${percent(1 - nonZero / weights)} zero`,
  ].join('\n')
}

function paritySection({ decoding, parity, missing, provider, providerChosen }: Run): string {
  const lines = decoding.map(
    ({ provider: name, weights, maxDifference }) =>
      `  ${name} decodes ${count(weights)} weights ${maxDifference === 0 ? 'bit for bit' : `to ${digits(maxDifference, 2)} of the largest`}`,
  )
  for (const { provider: name, rows, relativeDifference, kl, topOneAgreement } of parity)
    lines.push(
      `  ${name}: logits of ${count(rows)} tokens within ${digits(relativeDifference, 2)} of the largest, ` +
        `KL ${digits(kl, 2)}, same top token ${percent(topOneAgreement)}`,
    )
  for (const { provider: name, because } of missing) lines.push(`  ${name} does not run here: ${because}`)
  const chosen = providerChosen === undefined ? '' : ` (${providerChosen})`
  return [`Against the portable form on cpu:`, ...lines, `Below, ${provider} is measured${chosen}.`].join('\n')
}

function qualitySection({ quality }: Run): string {
  const { windows, sequenceLength, perplexity, standardError, densePerplexity, perplexityRatio, kl } = quality
  const head = `Quality on ${count(windows)} windows of ${count(sequenceLength)} tokens: perplexity ${digits(perplexity)} ± ${digits(standardError, 2)}`
  if (densePerplexity === undefined || perplexityRatio === undefined || kl === undefined)
    return `${head}\n  ${quality.note ?? ''}`
  return `${head}, ${digits(perplexityRatio)} times the dense ${digits(densePerplexity)}, KL ${digits(kl, 3)}`
}

function speedSection({ speed, threads, runtime }: Run): string {
  const { ff, model, modelNote, dense } = speed
  const layers = ff.layers === ff.ofLayers ? `${ff.layers} FF layers` : `${ff.layers} of ${ff.ofLayers} FF layers`
  const rows = [
    speedRow(`${layers}, one token`, ff.oneToken),
    speedRow(`${layers}, ${ff.prompt.tokens} tokens`, ff.prompt),
    ...(model
      ? [
          speedRow('model, one token', model.decode),
          speedRow(`model, prompt of ${model.prompt.tokens} tokens`, model.prompt),
        ]
      : []),
  ]
  const columns: Column[] = [
    { title: '', align: 'left' },
    { title: 'sparse ms' },
    { title: 'quarters' },
    { title: 'dense ms' },
    { title: 'quarters' },
    { title: 'speed-up' },
    { title: 'sparse tokens/s' },
  ]
  const head = `Speed of ${runtime} on ${threads} thread${threads === 1 ? '' : 's'}, medians in turns with dense: ${dense}`
  return [head, indent(table(columns, rows)), ...(modelNote === undefined ? [] : [`  ${modelNote}`])].join('\n')
}

function speedRow(name: string, { tokens, sparse, dense, speedup }: Comparison): string[] {
  return [
    name,
    digits(sparse.medianMs, 3),
    `${digits(sparse.q1Ms, 3)}-${digits(sparse.q3Ms, 3)}`,
    digits(dense.medianMs, 3),
    `${digits(dense.q1Ms, 3)}-${digits(dense.q3Ms, 3)}`,
    `${digits(speedup, 3)}x`,
    digits((1000 * tokens) / sparse.medianMs, 3),
  ]
}

function bytesSection({ speed }: Run): string {
  const { ffSparse, ffDense, other } = speed.bytesPerToken
  const lines = [`Read per token: FF ${bytes(ffSparse)} (dense f32 ${bytes(ffDense)}), the rest ${bytes(other)} as f32`]
  const { bandwidth, bandwidthShare } = speed
  if ('notMeasured' in bandwidth) lines.push(`Memory bandwidth was not measured: ${bandwidth.notMeasured}`)
  else
    lines.push(
      `Memory reads ${bytes(bandwidth.bytesPerSecond)}/s on ${bandwidth.threads} thread${bandwidth.threads === 1 ? '' : 's'}` +
        (bandwidthShare
          ? `; with one token the FF layers reach ${percent(bandwidthShare.sparse)} of that, dense ${percent(bandwidthShare.dense)}`
          : ''),
    )
  return lines.join('\n')
}

function gateSection({ gates }: VerifyResult): string {
  return gates
    .map(
      ({ gate, limit, measured, passed }) =>
        `${passed ? 'passed' : 'MISSED'}: ${gate}: ${digits(measured, 3)}, limit ${digits(limit, 3)}`,
    )
    .join('\n')
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n')
}
