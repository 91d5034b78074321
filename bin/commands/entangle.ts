import type { Command } from 'commander'
import type { EntangleOptions, Experiment } from '../../src/index.ts'
import type { Context } from '../context.ts'
import { choice, decimal, memory, repeated, whole } from '../flags.ts'
import type { ModelFlags } from '../options.ts'
import {
  addModelOptions,
  addOutputOptions,
  MODEL,
  addTextOption,
  addThreadsOption,
  present,
  textSource,
} from '../options.ts'
import { progressView } from '../progress.ts'
import { entangleReport } from '../report/entangle.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'

type Flags = ModelFlags & {
  readonly out?: string
  readonly text?: readonly string[]
  readonly tokens?: number
  readonly sequenceLength?: number
  readonly seed?: number
  readonly pairs?: number
  readonly top?: number
  readonly dense?: string
  readonly baseline?: string
  readonly experiment?: readonly Experiment[]
  readonly layer?: number
  readonly sparsity?: readonly number[]
  readonly evalText?: readonly string[]
  readonly windows?: number
  readonly native?: boolean
  readonly memory?: number
  readonly threads?: number
  readonly json?: boolean
  readonly quiet?: boolean
}

const experimentOf = choice('--experiment', ['clusters', 'subset'] as const)
const sparsityOf = decimal('--sparsity', { above: 0, below: 1, example: '0.8' })

const HELP = `
Examples:
  $ spexpand entangle --out demo-report
  $ spexpand entangle ./SmolLM2 --text my.jsonl --tokens 131072 --out smol-report
  $ spexpand entangle demo-spexpand --out mixture-report
  $ spexpand entangle --experiment clusters --experiment subset --tokens 32768 --out controls

Writes report.html (self-contained), entanglement.csv (every neuron), entanglement.json (schema:
export/schema/entanglement.schema.json) and tables of experiments into --out; without it, nothing is written. --json prints entanglement.json.
${EXIT_CODES_HELP}`

/** `entangle`: how entangled every FF neuron is, and what expansion did to it. */
export function addEntangleCommand(program: Command, context: Context): void {
  const command = program
    .command('entangle')
    .description('measure the entanglement of every FF neuron of a model or artifact, and write a report')
    .argument('[model]', `artifact folder, or ${MODEL} (default: the embedded demo model)`)
    .option('-o, --out <folder>', 'folder for report.html, entanglement.json and entanglement.csv')
    .option('--tokens <n>', 'tokens to measure on (default: 131072)', whole('--tokens', { min: 1, example: '131072' }))
    .option(
      '--sequence-length <n>',
      'tokens of one window (default: 256)',
      whole('--sequence-length', { min: 2, example: '256' }),
    )
    .option(
      '--seed <n>',
      'seed of windows and pairs (default: 0)',
      whole('--seed', { min: 0, max: 2 ** 32 - 1, example: '0' }),
    )
    .option(
      '--pairs <n>',
      'pairs of tokens for mapping difficulty (default: 4096)',
      whole('--pairs', { min: 1, max: 2 ** 20, example: '4096' }),
    )
    .option(
      '--top <share>',
      'share of neurons of a matrix that count as Wasserstein neurons (default: 0.03)',
      decimal('--top', { above: 0, below: 1, example: '0.03' }),
    )
    .option('--dense <folder>', 'artifact: the dense model it was made from (default: the demo model, if it was that)')
    .option('--baseline <folder>', 'artifact: one-expert artifact to compare with (default: solved on the text)')
    .option(
      '--experiment <name>',
      'dense model: clusters (one layer in 1 to 16 experts) or subset (only a share of the neurons pruned); repeatable',
      (value: string, previous: readonly Experiment[] | undefined) => [...(previous ?? []), experimentOf(value)],
    )
    .option('--layer <i>', 'clusters: the layer (default: 1)', whole('--layer', { min: 0, example: '1' }))
    .option(
      '--sparsity <share>',
      'zeros of the rows that experiments prune; repeatable (default: subset 0.5 0.8 0.95, clusters 0.7)',
      (value: string, previous: readonly number[] | undefined) => [...(previous ?? []), sparsityOf(value)],
    )
    .option('--eval-text <file>', 'subset: text for the perplexity (default: the bundled held-out text)', repeated)
    .option(
      '--windows <n>',
      'subset: windows for the perplexity (default: 32)',
      whole('--windows', { min: 2, max: 65_536, example: '32' }),
    )
    .option('--no-native', 'compute with onnxruntime only, also where native products are faster (last bits differ)')
    .option('--memory <size>', 'memory for histograms, e.g. 2G (default: a quarter)', memory('--memory'))
  addTextOption(command, 'text to measure on (default: the bundled calibration text)')
  addThreadsOption(command)
  addModelOptions(command)
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string | undefined, flags: Flags) => runEntangle(model, flags, context))
}

async function runEntangle(model: string | undefined, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, out, memory: memoryBytes, text, evalText, experiment, sparsity, ...same } = flags
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  try {
    const result = await library.entangleFiles(
      present<EntangleOptions & { out?: string }>({
        ...same,
        model,
        out,
        text: textSource(text),
        evalText: textSource(evalText, text),
        experiments: experiment,
        sparsities: sparsity,
        memoryBytes,
        onProgress: view.onProgress,
        signal: context.signal,
      }),
    )
    view.stop()
    context.stdout.write(json ? result.json : entangleReport(result))
  } finally {
    view.stop()
  }
}
