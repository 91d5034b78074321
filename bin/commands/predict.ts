import type { Command } from 'commander'
import type { PredictOptions, Provider } from '../../src/index.ts'
import { UsageError } from '../../src/errors.ts'
import type { Context } from '../context.ts'
import { decimal, whole } from '../flags.ts'
import type { ModelFlags } from '../options.ts'
import {
  addModelOptions,
  addOutputOptions,
  MODEL,
  addProviderOption,
  addTextOption,
  addThreadsOption,
  present,
  textSource,
} from '../options.ts'
import { addChoosingOptions } from '../griffin-option.ts'
import { progressView } from '../progress.ts'
import type { HireFlags } from './predict-hire.ts'
import { addHireOptions, runPredictHire } from './predict-hire.ts'
import { predictReport } from '../report/predict.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'

type Flags = ModelFlags & {
  readonly griffin?: boolean
  readonly out?: string
  readonly density?: number
  readonly klBudget?: number
  readonly scores?: PredictOptions['scores']
  readonly select?: PredictOptions['select']
  readonly text?: readonly string[]
  readonly windows?: number
  readonly sequenceLength?: number
  readonly promptTokens?: number
  readonly speed?: boolean
  readonly dense?: string
  readonly provider?: Provider
  readonly threads?: number
  readonly json?: boolean
  readonly quiet?: boolean
}

const HELP = `
Examples:
  $ spexpand predict --griffin --out demo-griffin
  $ spexpand predict ./SmolLM2 --griffin --density 0.5 --scores statistic-down --out smol-griffin
  $ spexpand predict ./SmolLM2 --griffin --density 0.5 --kl-budget 0.1 --out smol-griffin
  $ spexpand predict smol-70 --griffin --dense ./SmolLM2
  $ spexpand predict ./SmolLM2 --hire q --recall 0.98 --out smol-hire
  $ spexpand predict smol-70 --hire q

Writes griffin.json and griffin.html into --out: the density of every layer, an order of the neurons, how much selected sets
agree, and the quality measured at several densities. Without --out an artifact is amended (spexpand.json, metadata of model.onnx
and the weight files, order of neurons, page), and nothing is written for a dense model.
${EXIT_CODES_HELP}`

/** `predict`: contextual sparsity of a dense model, measured. */
export function addPredictCommand(program: Command, context: Context): void {
  const command = program
    .command('predict')
    .description(
      'measure which FF neurons a prompt (GRIFFIN) or a token (HiRE) needs, and write what a runtime needs to skip the others',
    )
    .argument('[model]', `${MODEL} (default: the embedded demo model)`)
    .option('--griffin', 'sets of neurons chosen once per prompt; give it or --hire')
    .option('-o, --out <folder>', 'folder for griffin.json and griffin.html; without it an artifact gets them itself')
    .option(
      '--dense <folder>',
      'dense model that an artifact was made from (default: the embedded demo model, if it is)',
    )
    .option('--speed', 'also time decoding at several densities: result and page; GRIFFIN: dense models only')
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
  addChoosingOptions(command)
  addHireOptions(command)
  addTextOption(command, 'text to measure on (default: the bundled evaluation text)')
  addThreadsOption(command)
  addProviderOption(command, 'of an artifact: spexpand where the native operators are built, else cpu')
  addModelOptions(command)
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string | undefined, flags: Flags & HireFlags) =>
      flags.hire === undefined ? runPredict(model, flags, context) : runPredictHire(model, flags, context),
    )
}

async function runPredict(model: string | undefined, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, griffin, text, ...same } = flags
  if (!griffin) throw new UsageError('predict: nothing to predict: give --griffin or --hire')
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  try {
    const options = { ...same, model, text: textSource(text), onProgress: view.onProgress, signal: context.signal }
    const result = await library.predict(present<PredictOptions>(options))
    view.stop()
    context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : predictReport(result))
  } finally {
    view.stop()
  }
}
