import type { Command } from 'commander'
import type { EvaluateOptions } from '../../src/index.ts'
import type { Context } from '../context.ts'
import { whole } from '../flags.ts'
import { addChoosingOptions, addGriffinOption, addSelectSeed, griffinOption } from '../griffin-option.ts'
import type { ModelFlags } from '../options.ts'
import {
  addMaxMemoryOption,
  addModelOptions,
  addOutputOptions,
  MODEL,
  addProviderOption,
  addTextOption,
  addThreadsOption,
  present,
  textSource,
} from '../options.ts'
import { progressView } from '../progress.ts'
import { evaluateReport } from '../report/evaluate.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'

type Flags = ModelFlags &
  Pick<EvaluateOptions, 'scores' | 'select' | 'seed'> & {
    readonly text?: readonly string[]
    readonly dense?: string
    readonly hire?: boolean
    readonly griffin?: string | true
    readonly promptTokens?: number
    readonly windows?: number
    readonly sequenceLength?: number
    readonly threads?: number
    readonly maxMemory?: number
    readonly provider?: EvaluateOptions['provider']
    readonly json?: boolean
    readonly quiet?: boolean
  }

const HELP = `
Examples:
  $ spexpand eval demo-spexpand
  $ spexpand eval demo-spexpand --text held-out.jsonl --windows 64 --json
  $ spexpand eval smol-70 --dense ./SmolLM2 --text held-out.jsonl
  $ spexpand eval ./SmolLM2 --griffin 0.5 --windows 16

Text for the measurement is one document a file, or JSON lines with "text" and an optional "domain"; results are also
given by domain. --json prints "perplexity" at the top level.
${EXIT_CODES_HELP}`

/** `eval`: quality of an artifact, from its exported files, against the dense model. */
export function addEvalCommand(program: Command, context: Context): void {
  const command = program
    .command('eval')
    .description('perplexity, KL and top-1 agreement with the dense model, from the exported files')
    .argument('<model>', `artifact folder, or ${MODEL}`)
    .option('--dense <folder>', 'dense model to compare with (default: the source, where it is known and unchanged)')
    .option('--hire', 'run it with its HiRE predictors; compared with itself without them, or with --dense')
  addSelectSeed(addChoosingOptions(addGriffinOption(command, 'text behind prompts')))
    .option(
      '--prompt-tokens <n>',
      'with --griffin: tokens of a window that are its prompt (default: half)',
      whole('--prompt-tokens', { min: 1, example: '128' }),
    )
    .option(
      '--windows <n>',
      'evaluation windows (default: 256; with --griffin 64)',
      whole('--windows', { min: 1, example: '256' }),
    )
    .option(
      '--sequence-length <n>',
      'tokens of one window (default: 256)',
      whole('--sequence-length', { min: 2, example: '256' }),
    )
  addTextOption(command, 'evaluation text (default: the bundled evaluation text)')
  addMaxMemoryOption(addThreadsOption(command))
  addProviderOption(command)
  addModelOptions(command)
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string, flags: Flags) => runEval(model, flags, context))
}

async function runEval(model: string, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, griffin, maxMemory: maxMemoryBytes, ...same } = flags
  const text = textSource(flags.text)
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  try {
    const result = await library.evaluate(
      present<EvaluateOptions>({
        ...same,
        griffin: griffinOption(griffin),
        maxMemoryBytes,
        model,
        text,
        onProgress: view.onProgress,
        signal: context.signal,
      }),
    )
    view.stop()
    context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : evaluateReport(result))
  } finally {
    view.stop()
  }
}
