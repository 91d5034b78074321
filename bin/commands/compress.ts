import { basename, resolve } from 'node:path'
import type { Command } from 'commander'
import { MemoryLimitError } from '../../src/errors.ts'
import type { CompressOptions, CompressResult, EvaluateOptions, EvaluateResult, TextSource } from '../../src/index.ts'
import type { Context, Library } from '../context.ts'
import { repeated } from '../flags.ts'
import type { CompressionFlags, ModelFlags } from '../options.ts'
import { addCompressionOptions, addOutputOptions, compressionOptions, MODEL, present, textSource } from '../options.ts'
import type { ProgressView } from '../progress.ts'
import { progressView } from '../progress.ts'
import { compressReport, evalCommand } from '../report/compress.ts'
import { entangleReport } from '../report/entangle.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'

type Flags = CompressionFlags & {
  readonly out?: string
  readonly eval: boolean
  readonly evalText?: readonly string[]
  readonly report?: string
  readonly json?: boolean
  readonly quiet?: boolean
}

const HELP = `
Examples:
  $ spexpand compress --experts 16 --sparsity 0.7
      the embedded demo model and the bundled text, into ./demo-spexpand
  $ spexpand compress ./SmolLM2 --tokens 65536 --out smol-70
  $ spexpand compress ./SmolLM2 --text notes.jsonl --text book.txt --eval-text held-out.jsonl
  $ spexpand compress ./SmolLM2 --method sparsegpt --pattern 2:4
  $ spexpand compress SmolLM2-135M-Instruct.Q4_1.gguf --tokens 65536
  $ spexpand compress HuggingFaceTB/SmolLM2-135M --revision main

An interrupted run goes on from its last finished block when the same command is given again.
${EXIT_CODES_HELP}`

/** `compress`: calibrate, cluster, prune, export; then measure what was written. */
export function addCompressCommand(program: Command, context: Context): void {
  const command = program
    .command('compress')
    .description('turn a model into a Sparse Expansion mixture and measure it')
    .argument('[model]', `${MODEL} (default: the embedded demo model)`)
    .option('-o, --out <folder>', 'artifact folder to write (default: ./<model>-spexpand)')
  addCompressionOptions(command)
    .option('--eval-text <file>', 'text to measure on afterwards when --text is given; repeat for more', repeated)
    .option('--no-eval', 'do not measure the artifact afterwards')
    .option('--report <folder>', 'write the entanglement report of the artifact there, as spexpand entangle does')
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string | undefined, flags: Flags) => runCompress(model, flags, context))
}

async function runCompress(model: string | undefined, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, out = defaultOut(model), eval: wanted, evalText, report, ...compression } = flags
  const options = compressionOptions(model, compression)
  const evalSource = textSource(evalText, flags.text)
  const skipped = whyNoEvaluation(wanted, flags)
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  const ports = { onProgress: view.onProgress, signal: context.signal }
  try {
    const result = await library.compress({ ...options, out, ...ports })
    logResult(result, context)
    const evaluation = { ...evaluateOptions(model, result, evalSource, compression, options), ...ports }
    const measuring = skipped === undefined ? await measure(library, evaluation, view, context) : { because: skipped }
    const [quality, because] = 'because' in measuring ? [undefined, measuring.because] : [measuring, undefined]
    const { text, threads, native } = options
    const measured = { model: out, dense: model, text, threads, native, out: report, ...ports }
    const entanglement =
      report === undefined
        ? undefined
        : await library.entangleFiles(present<Parameters<Library['entangleFiles']>[0]>(measured))
    view.stop()
    context.stdout.write(
      json
        ? resultJson(result, quality, because, entanglement?.files)
        : compressReport(result, options, quality, because) + (entanglement ? `\n${entangleReport(entanglement)}` : ''),
    )
  } finally {
    view.stop()
  }
}

function logResult({ blocks, fallbacks, memory, ...result }: CompressResult, { log }: Context): void {
  log.event('info', 'result', { ...result, blocks: blocks.length, fallbacks: fallbacks.length, memory })
}

/**
 * Measures the finished artifact; a failure here must not read as if the work before it were lost. Under --max-memory an
 * evaluation that does not fit is left out, and said to be.
 */
async function measure(
  library: Library,
  options: EvaluateOptions,
  view: ProgressView,
  context: Context,
): Promise<EvaluateResult | { readonly because: string }> {
  try {
    return await library.evaluate(options)
  } catch (error) {
    const command = evalCommand(options.model, options.dense)
    if (error instanceof MemoryLimitError)
      return { because: `the limit is too small for it: ${error.message}. Without it: ${command}` }
    view.stop()
    context.stderr.write(`spexpand: ${options.model} is complete, only its measurement is missing: ${command}\n`)
    throw error
  }
}

/** './<model>-spexpand': named after the model's folder, in the working directory. */
export function defaultOut(model: string | undefined): string {
  return `${model === undefined ? 'demo' : basename(resolve(model)).replace(/\.gguf$/i, '')}-spexpand`
}

/** Text given for calibration says nothing about the text to measure on: measuring on it would flatter the result. */
function whyNoEvaluation(wanted: boolean, flags: Flags): string | undefined {
  if (!wanted) return '--no-eval was given'
  if (flags.text !== undefined && flags.evalText === undefined)
    return '--text was given without --eval-text, and the calibration text would flatter the result'
  return undefined
}

function evaluateOptions(
  model: string | undefined,
  { out }: CompressResult,
  text: TextSource | undefined,
  { revision, offline, chatTemplate }: ModelFlags,
  { threads, sequenceLength, maxMemoryBytes }: Omit<CompressOptions, 'out'>,
): EvaluateOptions {
  const same = { threads, sequenceLength, maxMemoryBytes, revision, offline, ...(text ? { chatTemplate } : {}) }
  return present<EvaluateOptions>({ ...same, model: out, dense: model, text })
}

function resultJson(
  result: CompressResult,
  quality: EvaluateResult | undefined,
  skipped: string | undefined,
  report: readonly string[] = [],
): string {
  const evaluation = quality ? { evaluation: quality } : { evaluation: null, evaluationSkipped: skipped }
  const files = report.length > 0 ? { report } : {}
  return `${JSON.stringify({ ...result, ...evaluation, ...files }, null, 2)}\n`
}
