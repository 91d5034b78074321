import type { Command } from 'commander'
import { UsageError } from '../../src/errors.ts'
import type { Method, Pattern, ValueType } from '../../src/index.ts'
import type { Context } from '../context.ts'
import { choice } from '../flags.ts'
import {
  addDampingOption,
  addNativeOption,
  addOutputOptions,
  addPatternOptions,
  addRefineOption,
  addThreadsOption,
  addValueOptions,
  patternOf,
  present,
} from '../options.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { outline } from '../report/outline.ts'

// One matrix has one set of inputs: there is nothing to expand.
const METHODS = ['sparsegpt', 'wanda', 'magnitude'] as const satisfies readonly Method[]

type Flags = {
  readonly out: string
  readonly sparsity?: number
  readonly pattern?: Pattern
  readonly method?: (typeof METHODS)[number]
  readonly values?: ValueType
  readonly groupSize?: number
  readonly refine?: number
  readonly damping?: number
  readonly native?: boolean
  readonly threads?: number
  readonly json?: boolean
}

const HELP = `
Examples:
  $ spexpand prune-matrix layer.safetensors --sparsity 0.7 --out pruned.safetensors
  $ spexpand prune-matrix layer.safetensors --pattern 2:4 --damping 0.05 --out pruned.safetensors --json
  $ spexpand prune-matrix layer.safetensors --sparsity 0.7 --values int4 --out pruned.safetensors

Reads "W" (out, in) and "X" (tokens, in). Writes "W" pruned, and rounded with --values, "mask_kept", 1 where a weight
was kept, and "scales" of int8 and int4. Prints the losses tr(D H D^T) of the difference D, with H = 2/n X^T X damped and
undamped; with --values also those of the same pruning without rounding.
${EXIT_CODES_HELP}`

/** `prune-matrix`: the solver alone, on one matrix and its inputs, for checks and research. */
export function addPruneMatrixCommand(program: Command, context: Context): void {
  const command = program
    .command('prune-matrix')
    .description('prune one matrix for given inputs')
    .argument('<file>', 'safetensors file with "W" (out, in) and "X" (tokens, in)')
    .requiredOption('-o, --out <file>', 'safetensors file to write')
    .option('--method <name>', `${METHODS.join(', ')} (default: sparsegpt)`, choice('--method', METHODS))
  addValueOptions(addPatternOptions(command), 'not rounded')
  addThreadsOption(addNativeOption(addRefineOption(addDampingOption(command), '1 for int4, else 0')))
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((file: string, flags: Flags) => runPruneMatrix(file, flags, context))
}

async function runPruneMatrix(input: string, flags: Flags, context: Context): Promise<void> {
  const pattern = patternOf(flags)
  if (pattern === undefined)
    throw new UsageError('prune-matrix: got neither --sparsity nor --pattern, wanted one of them')
  const { out, method, values, groupSize, refine, damping, native, threads } = flags
  const library = await context.library()
  const options = { input, out, pattern, method, values, groupSize, refine, damping, native, threads }
  const result = await library.pruneMatrixFile(present<Parameters<typeof library.pruneMatrixFile>[0]>(options))
  context.stdout.write(flags.json ? `${JSON.stringify(result, null, 2)}\n` : outline(result))
}
