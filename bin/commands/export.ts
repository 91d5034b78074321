import type { Command } from 'commander'
import { Option } from 'commander'
import { UsageError } from '../../src/errors.ts'
import type { GenaiOptions, HfDenseOptions } from '../../src/index.ts'
import type { Context } from '../context.ts'
import { addOutputOptions, present } from '../options.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { outline } from '../report/outline.ts'

type Flags = {
  readonly to: 'hf-dense' | 'genai'
  readonly out: string
  readonly weights?: 'exact' | 'f16' | 'bf16' | 'f32'
  readonly native?: boolean
  readonly portable?: boolean
  readonly json?: boolean
}

const HELP = `
Formats:
  hf-dense   a Hugging Face model folder with the pruned weights as dense matrices, zeros in place; one expert only
  genai      a folder of onnxruntime-genai: graph, weights, tokenizer, genai_config.json, and our operators where built

Examples:
  $ spexpand compress --method sparsegpt --sparsity 0.5 --out pruned
  $ spexpand export pruned --to hf-dense --out pruned-hf
  $ spexpand export pruned --to hf-dense --weights bf16 --out pruned-hf
  $ spexpand export demo-spexpand --to genai --out demo-genai

The weights are those the artifact runs with, bit for bit, unless --weights rounds them. As dense matrices their zeros take
as much memory and time as other numbers.
${EXIT_CODES_HELP}`

/** `export`: an artifact in the form of another runtime. */
export function addExportCommand(program: Command, context: Context): void {
  const command = program
    .command('export')
    .description('write an artifact in the form that other runtimes read')
    .argument('<artifact>', 'artifact folder')
    .addOption(new Option('--to <format>', 'form to write').choices(['hf-dense', 'genai']).makeOptionMandatory())
    .requiredOption('-o, --out <folder>', 'folder to write')
    .addOption(
      new Option(
        '--weights <type>',
        'element type of the FF weights (default: exact, the smallest that rounds nothing)',
      ).choices(['exact', 'f16', 'bf16', 'f32']),
    )
    .option('--native', 'genai: our operator library goes with it (default: where it is built)')
    .addOption(new Option('--portable', 'genai: without it, for any platform, many times slower').conflicts('native'))
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((artifact: string, flags: Flags) => runExport(artifact, flags, context))
}

async function runExport(artifact: string, flags: Flags, context: Context): Promise<void> {
  const { to, out, weights, json } = flags
  const native = flags.native ?? (flags.portable ? false : undefined)
  if (to !== 'genai' && native !== undefined)
    throw new UsageError(`export: --${native ? 'native' : 'portable'} is for --to genai, got --to ${to}`)
  if (to === 'genai' && weights !== undefined)
    throw new UsageError('export: --weights is for --to hf-dense, got --to genai, which keeps the weights as they are')
  const library = await context.library()
  const result =
    to === 'genai'
      ? library.exportGenai(present<GenaiOptions>({ artifact, out, native }))
      : library.exportHfDense(present<HfDenseOptions>({ artifact, out, weights }))
  context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : outline(result))
}
