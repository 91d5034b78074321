import type { PlanResult } from '../../src/index.ts'
import { bytes, count, digits, duration, percent, times } from '../format.ts'
import type { Column } from '../table.ts'
import { table } from '../table.ts'

/** What `plan` prints: first what grows, then what shrinks, then what the run needs. */
export function planReport(plan: PlanResult): string {
  const sections = [headline(plan), growth(plan), needs(plan), statistics(plan), profileTable(plan), warnings(plan)]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function headline(plan: PlanResult): string {
  const { family, blocks, hidden, ff, parameters, ffParameters, experts } = plan
  const share = percent(ffParameters / parameters)
  return [
    `${plan.model} (${family}): ${blocks} blocks, hidden ${hidden}, FF ${ff}, ${count(parameters)} parameters, ${share} in FF layers`,
    `Plan: ${plan.profile ? `up to ${experts} experts` : experts === 1 ? 'one expert' : `${experts} experts`} per FF layer, ${patternText(plan.pattern)}, ${valuesText(plan)}`,
  ].join('\n')
}

function patternText(pattern: PlanResult['pattern']): string {
  return pattern.kind === 'n:m'
    ? `${pattern.n} zeros in every ${pattern.m} inputs`
    : `${percent(pattern.sparsity)} of the FF weights zero`
}

function valuesText({ values, groupSize }: PlanResult): string {
  if (groupSize === undefined) return `the others as ${values}`
  return `the others as ${values}, ${groupSize === 0 ? 'one scale a row' : `one scale for ${groupSize} inputs of a row`}`
}

function growth(plan: PlanResult): string {
  const { ffBytesDense, ffBytesStored, ffBytesPerTokenDense, ffBytesPerToken } = plan
  const changes = [
    change('stored on disk', ffBytesDense, ffBytesStored),
    change('read per token', ffBytesPerTokenDense, ffBytesPerToken),
  ].sort((a, b) => Number(b.ratio > 1) - Number(a.ratio > 1)) // what grows comes first, whichever of the two it is
  const columns: Column[] = [
    { title: '', align: 'left' },
    { title: 'FF weights', align: 'left' },
    { title: 'dense' },
    { title: 'artifact' },
    { title: 'ratio' },
  ]
  const rows = changes.map(({ cells }) => cells)
  return table(columns, rows)
}

function change(what: string, dense: number, artifact: number): { ratio: number; cells: string[] } {
  const ratio = artifact / dense
  const verb = ratio > 1 ? 'grows:' : ratio < 1 ? 'shrinks:' : 'stays:'
  return { ratio, cells: [verb, what, bytes(dense), bytes(artifact), times(artifact, dense)] }
}

function needs(plan: PlanResult): string {
  const { artifactBytes, diskBytes, freeDiskBytes, memory, seconds, cpuSeconds = 0, probe } = plan
  const time =
    seconds === undefined
      ? 'not estimated (no probe)'
      : `about ${duration(seconds * 1000)} on an idle machine, ${duration(cpuSeconds * 1000)} of processors${probe ? `, by a probe of one block (${digits(probe.gflops, 3)} GFLOP/s a thread, ${probe.products})` : ''}`
  const short = diskBytes > freeDiskBytes ? ': NOT ENOUGH' : ''
  return table(
    [
      { title: '', align: 'left' },
      { title: '', align: 'left' },
    ],
    [
      ['artifact', bytes(artifactBytes)],
      ['disk while running', `${bytes(diskBytes)} of ${bytes(freeDiskBytes)} free${short}`],
      ['peak memory', peak(memory)],
      ['time', time],
    ],
  )
}

function peak({ peakBytes, workers, spooled }: PlanResult['memory']): string {
  const threads = workers === 1 ? 'one worker' : `${workers} workers`
  return `about ${bytes(peakBytes)}, ${threads}, hidden states ${spooled ? 'on disk' : 'in memory'}`
}

function statistics({ tokens, tokensPerExpert, rankRisk }: PlanResult): string {
  const spread = `${count(tokens)} calibration tokens, ${count(tokensPerExpert)} per expert on average`
  if (rankRisk.length === 0) return spread
  return `${spread}\nFewer tokens than inputs, damping carries the solver: ${rankRisk.join(', ')}`
}

/** Layers that are alike, one group a line. */
function profileTable({ profile }: PlanResult): string {
  if (!profile) return ''
  const groups = new Map<string, number[]>()
  profile.layers.forEach(({ experts, sparsity }, layer) => {
    const what = experts === 1 ? 'one expert' : `${experts} experts`
    const key = sparsity === undefined ? what : `${what} at ${percent(sparsity)} zeros`
    groups.set(key, [...(groups.get(key) ?? []), layer])
  })
  const lines = [...groups].map(([key, layers]) => `  ${key}: layers ${layers.join(', ')}`)
  return [`Profile${profile.rule === undefined ? '' : ` (${profile.rule})`}:`, ...lines].join('\n')
}

function warnings({ warnings: lines }: PlanResult): string {
  return lines.length === 0 ? '' : `Warnings:\n${lines.map((line) => `  ${line}`).join('\n')}`
}
