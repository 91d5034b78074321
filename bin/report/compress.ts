import type { BlockStats, CompressOptions, CompressResult, EvaluateResult, MatrixStats } from '../../src/index.ts'
import { bytes, count, digits, duration, percent, times } from '../format.ts'
import type { Column } from '../table.ts'
import { table } from '../table.ts'
import { dampingLine } from './damping.ts'
import { qualityTable } from './evaluate.ts'

const SHORT: Readonly<Record<MatrixStats['matrix'], string>> = { gate_proj: 'gate', up_proj: 'up', down_proj: 'down' }

/** What `compress` prints: blocks, sizes, quality, whatever did not go the plain way, time, and what to do next. */
export function compressReport(
  result: CompressResult,
  options: Omit<CompressOptions, 'out'>,
  quality: EvaluateResult | undefined,
  skipped: string | undefined,
): string {
  const sections = [
    headline(result),
    blockTable(result.blocks),
    sizes(result, options),
    quality ? qualitySection(quality) : `Quality: not measured, because ${skipped ?? 'it was not asked for'}`,
    fallbackSection(result),
    ...(result.damping ? [dampingLine(result.damping)] : []),
    timeSection(result, quality),
    memorySection(result),
    nextSteps(result.out, options.model, quality !== undefined),
  ]
  return `${sections.join('\n\n')}\n`
}

function headline(result: CompressResult): string {
  const resumed = result.resumedBlocks > 0 ? `, ${result.resumedBlocks} of them from an earlier run` : ''
  return `Wrote ${result.out}: ${result.blocks.length} blocks${resumed}, ${percent(result.sparsity)} of the FF weights are zero`
}

/** One row a block: how the tokens spread over the experts, and the error of each matrix beside that of one expert. */
function blockTable(blocks: readonly BlockStats[]): string {
  const split = blocks.some(({ tokensPerDownExpert }) => tokensPerDownExpert !== undefined)
  const matrices = blocks[0]?.matrices ?? []
  const columns: Column[] = [
    { title: 'block' },
    ...spreadColumns('tokens'),
    ...(split ? spreadColumns('down tokens') : []),
    ...matrices.flatMap(({ matrix }) => [{ title: SHORT[matrix] }, { title: '(1 expert)' }]),
    { title: 'zeros' },
  ]
  const rows = blocks.map((block) => [
    String(block.layer),
    ...spread(block.tokensPerExpert),
    ...(split ? spread(block.tokensPerDownExpert ?? []) : []),
    ...block.matrices.flatMap(({ error, baselineError }) => [digits(error, 3), `(${digits(baselineError, 3)})`]),
    percent(zeros(block)),
  ])
  const legend =
    'tokens: calibration tokens per expert. gate, up, down: relative output error of the experts on calibration tokens,\n' +
    'in brackets that of one expert for all tokens (SparseGPT).'
  return `${table(columns, rows)}\n${legend}`
}

function spreadColumns(what: string): Column[] {
  return [{ title: `${what}: min` }, { title: 'median' }, { title: 'max' }]
}

function spread(counts: readonly number[]): string[] {
  const sorted = [...counts].sort((a, b) => a - b)
  if (sorted.length === 0) return ['-', '-', '-']
  const middle = (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
  return [sorted[0]!, middle, sorted.at(-1)!].map(count)
}

/** Gate, up and down have the same number of weights, so the plain mean is the share over the block. */
function zeros({ matrices }: BlockStats): number {
  return matrices.reduce((sum, { sparsity }) => sum + sparsity, 0) / Math.max(1, matrices.length)
}

function sizes(result: CompressResult, { stockBody = 'stream' }: Omit<CompressOptions, 'out'>): string {
  const { ffBytesDense, ffBytesStored, ffBytesPerTokenDense, ffBytesPerToken } = result
  const experts = Math.max(1, ...result.blocks.map(({ tokensPerExpert }) => tokensPerExpert.length))
  const lines = table(
    [{ title: 'FF weights', align: 'left' }, { title: 'dense' }, { title: 'artifact' }, { title: 'ratio' }],
    [
      ['stored on disk', bytes(ffBytesDense), bytes(ffBytesStored), times(ffBytesStored, ffBytesDense)],
      [
        'read per token',
        bytes(ffBytesPerTokenDense),
        bytes(ffBytesPerToken),
        times(ffBytesPerToken, ffBytesPerTokenDense),
      ],
    ],
  )
  const grown =
    ffBytesStored > ffBytesDense
      ? `Bigger on disk: ${experts === 1 ? 'one expert is' : `${experts} experts ${alike(result) ? '' : 'or fewer a layer '}are`} stored, one is read per token.`
      : 'Smaller on disk, and smaller to read per token.'
  return `${lines}\n${grown}\n${stockSpeed(stockBody)}`
}

/** Whether every layer has as many experts. */
function alike({ blocks }: CompressResult): boolean {
  return new Set(blocks.map(({ tokensPerExpert }) => tokensPerExpert.length)).size <= 1
}

/** Zeros are no faster by themselves: said next to every size, because a smaller number suggests otherwise. */
export function stockSpeed(stockBody: 'stream' | 'fold'): string {
  return stockBody === 'fold'
    ? 'Stock onnxruntime gains no speed from these zeros: the fold body decodes them at load and runs at dense speed at best.'
    : 'Stock onnxruntime gains no speed from these zeros: the stream body decodes them while it runs, slower than dense.'
}

function qualitySection(quality: EvaluateResult): string {
  const note = quality.note === undefined ? '' : `\nNote: ${quality.note}`
  return (
    `Quality of the files just written, ${count(quality.windows)} windows of ${count(quality.sequenceLength)} tokens ` +
    `(${quality.runtime}):\n${qualityTable(quality)}${note}`
  )
}

function fallbackSection({ fallbacks: ofResult, retries }: CompressResult): string {
  const fallbacks = [...ofResult, ...retries]
  if (fallbacks.length === 0) return 'Fallbacks: none'
  const lines = fallbacks.map(({ where, what, because }) => `  ${where}: ${what}, because ${because}`)
  return `Fallbacks (${fallbacks.length}):\n${lines.join('\n')}`
}

const PRODUCTS = { onnxruntime: "onnxruntime's products", amx: 'native products on AMX tiles' } as const

function timeSection({ wallMs, stageMs, products }: CompressResult, quality: EvaluateResult | undefined): string {
  const stages = Object.entries(stageMs).map(([stage, ms]) => `${stage} ${duration(ms)}`)
  const evaluation = quality ? `; evaluation ${duration(quality.wallMs)}` : ''
  return `Time: ${duration(wallMs)} with ${PRODUCTS[products]}${stages.length > 0 ? ` (${stages.join(', ')})` : ''}${evaluation}`
}

function memorySection({ memory, peakBytes }: CompressResult): string {
  const { workers, spooled } = memory
  const threads = workers === 1 ? 'one worker' : `${workers} workers`
  return `Peak memory: ${bytes(peakBytes)}, expected ${bytes(memory.peakBytes)} (${threads}${spooled ? ', rows on disk' : ''})`
}

function nextSteps(out: string, model: string | undefined, measured: boolean): string {
  return [
    'Next:',
    `  spexpand inspect ${shellWord(out)}`,
    `  ${evalCommand(out, model)}${measured ? ' --text your.jsonl' : ''}`,
    `  any onnxruntime: load ${out}/model.onnx`,
  ].join('\n')
}

/** The command that measures the artifact in `out` against its dense model. */
export function evalCommand(out: string, dense: string | undefined): string {
  return `spexpand eval ${shellWord(out)}${dense === undefined ? '' : ` --dense ${shellWord(dense)}`}`
}

/** As a shell takes it back: bare where that is safe, in single quotes otherwise. */
function shellWord(word: string): string {
  return /^[\w./:@+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
