import type { Command } from 'commander'
import { GateError } from '../../src/errors.ts'
import type { Provider, VerifyOptions, VerifyResult } from '../../src/index.ts'
import type { Context } from '../context.ts'
import { decimal, whole } from '../flags.ts'
import { digits } from '../format.ts'
import { addChoosingOptions, addGriffinOption, addSelectSeed, griffinOption } from '../griffin-option.ts'
import type { ModelFlags } from '../options.ts'
import {
  addModelOptions,
  addOutputOptions,
  addProviderOption,
  addTextOption,
  addThreadsOption,
  present,
  textSource,
} from '../options.ts'
import { progressView } from '../progress.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { verifyReport } from '../report/verify.ts'

type Flags = ModelFlags &
  Pick<VerifyOptions, 'scores' | 'select' | 'seed'> & {
    readonly text?: readonly string[]
    readonly integrity?: boolean
    readonly hire?: boolean
    readonly griffin?: string | true
    readonly dense?: string
    readonly provider?: Provider
    readonly threads?: number
    readonly windows?: number
    readonly sequenceLength?: number
    readonly rounds?: number
    readonly minSpeedup?: number
    readonly maxKl?: number
    readonly maxPerplexityRatio?: number
    readonly json?: boolean
    readonly quiet?: boolean
  }

const HELP = `
Examples:
  $ spexpand verify demo-spexpand --integrity
  $ spexpand verify demo-spexpand
  $ spexpand verify smol-70 --dense ./SmolLM2 --provider spexpand --threads 2 --min-speedup 1.5 --max-kl 1.3
  $ spexpand verify ./SmolLM2 --griffin 0.5 --threads 2

A missed limit is exit code 7; the measurements are printed all the same.
${EXIT_CODES_HELP}`

/** `verify`: integrity, parity, quality and speed of an artifact, from its files alone. */
export function addVerifyCommand(program: Command, context: Context): void {
  const command = program
    .command('verify')
    .description('check an artifact: files, decoding, parity of providers, quality and speed against dense')
    .argument('<model>', 'artifact folder')
    .option('--integrity', 'check the files only: checksums, structure, every expert decoded')
    .option(
      '--dense <folder>',
      'dense model to compare with (default: the source, where it is the embedded demo model)',
    )
  command.option('--hire', 'also check the HiRE of an artifact of experts (of a dense model it always is)')
  addSelectSeed(addChoosingOptions(addGriffinOption(command, 'also measure text and decoding')))
  addTextOption(command, 'held-out text (default: the bundled evaluation text)')
  addProviderOption(command)
  addThreadsOption(command)
    .option(
      '--windows <n>',
      'windows of text for the quality (default: 32)',
      whole('--windows', { min: 1, example: '32' }),
    )
    .option('--sequence-length <n>', 'tokens of one window (default: 256)', whole('--sequence-length', TWO))
    .option('--rounds <n>', 'timed rounds of one token (default: 15)', whole('--rounds', { min: 1, example: '15' }))
    .option('--min-speedup <x>', 'least speed-up of decoding over dense', decimal('--min-speedup', ABOVE_ZERO))
    .option('--max-kl <nats>', 'largest mean KL from the dense model', decimal('--max-kl', ABOVE_ZERO))
    .option(
      '--max-perplexity-ratio <x>',
      'largest perplexity by that of the dense model',
      decimal('--max-perplexity-ratio', ABOVE_ZERO),
    )
  addModelOptions(command)
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string, flags: Flags) => runVerify(model, flags, context))
}

const ABOVE_ZERO = { above: 0, example: '1.2' }
const TWO = { min: 2, example: '256' }

async function runVerify(model: string, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, griffin, ...same } = flags
  const text = textSource(flags.text)
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  try {
    const result = await library.verify(
      present<VerifyOptions>({
        ...same,
        griffin: griffinOption(griffin),
        model,
        text,
        onProgress: view.onProgress,
        signal: context.signal,
      }),
    )
    view.stop()
    // Under --json the error and what was measured are one object, which main() prints.
    if (!json) context.stdout.write(verifyReport(result))
    else if (result.passed) context.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
    if (!result.passed) throw new GateError(missed(result), result)
  } finally {
    view.stop()
  }
}

function missed({ model, gates }: VerifyResult): string {
  const lines = gates
    .filter(({ passed }) => !passed)
    .map(({ gate, measured, limit }) => `${gate} is ${digits(measured, 3)}, the limit ${digits(limit, 3)}`)
  return `${model} misses ${lines.length} gate${lines.length === 1 ? '' : 's'}: ${lines.join('; ')}`
}
