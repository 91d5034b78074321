import type { Command } from 'commander'
import type { PredictGriffinOptions } from '../../src/index.ts'
import { UsageError } from '../../src/errors.ts'
import type { Context } from '../context.ts'
import { choice, decimal, whole } from '../flags.ts'
import { addOutputOptions, addTextOption, addThreadsOption, present, textSource } from '../options.ts'
import { progressView } from '../progress.ts'
import { predictReport } from '../report/predict.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'

type Flags = {
  readonly griffin?: boolean
  readonly out?: string
  readonly density?: number
  readonly klBudget?: number
  readonly scores?: (typeof SCORES)[number]
  readonly text?: readonly string[]
  readonly windows?: number
  readonly sequenceLength?: number
  readonly promptTokens?: number
  readonly threads?: number
  readonly json?: boolean
  readonly quiet?: boolean
}

const SCORES = ['statistic', 'statistic-down', 'magnitude'] as const

const HELP = `
Examples:
  $ spexpand predict --griffin --out demo-griffin
  $ spexpand predict ./SmolLM2 --griffin --density 0.5 --scores statistic-down --out smol-griffin
  $ spexpand predict ./SmolLM2 --griffin --density 0.5 --kl-budget 0.1 --out smol-griffin

Writes griffin.json into --out: the density of every layer, an order of the neurons, how much selected sets agree, and the
quality measured at several densities. Without --out nothing is written.
${EXIT_CODES_HELP}`

/** `predict`: contextual sparsity of a dense model, measured. */
export function addPredictCommand(program: Command, context: Context): void {
  const command = program
    .command('predict')
    .description('measure which FF neurons a prompt needs (GRIFFIN), and write what a runtime needs to skip the others')
    .argument('[model]', 'dense model folder (default: the embedded demo model)')
    .option('--griffin', 'sets of neurons chosen once per prompt; has to be given: it says what to predict')
    .option('-o, --out <folder>', 'folder for griffin.json')
    .option(
      '--density <share>',
      'share of FF neurons kept, over all layers (default: 0.5)',
      decimal('--density', { above: 0, max: 1, example: '0.5' }),
    )
    .option(
      '--kl-budget <nats>',
      'densities by layer, at least --density on average, that cost at most this KL a token (default: all layers alike)',
      decimal('--kl-budget', { above: 0, example: '0.1' }),
    )
    .option('--scores <kind>', `neurons by ${SCORES.join(', ')} (default: statistic)`, choice('--scores', SCORES))
    .option('--windows <n>', 'windows to measure on (default: 64)', whole('--windows', { min: 2, example: '64' }))
    .option(
      '--sequence-length <n>',
      'tokens of one window (default: 256)',
      whole('--sequence-length', { min: 3, example: '256' }),
    )
    .option(
      '--prompt-tokens <n>',
      'tokens of a window that are its prompt (default: half)',
      whole('--prompt-tokens', { min: 1, example: '128' }),
    )
  addTextOption(command, 'text to measure on (default: the bundled evaluation text)')
  addThreadsOption(command)
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string | undefined, flags: Flags) => runPredict(model, flags, context))
}

async function runPredict(model: string | undefined, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, griffin, text, ...same } = flags
  if (!griffin) throw new UsageError('predict: nothing to predict: give --griffin')
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  try {
    const options = { ...same, model, text: textSource(text), onProgress: view.onProgress, signal: context.signal }
    const result = await library.predict(present<PredictGriffinOptions & { readonly out?: string }>(options))
    view.stop()
    context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : predictReport(result))
  } finally {
    view.stop()
  }
}
