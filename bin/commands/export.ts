import type { Command } from 'commander'
import { Option } from 'commander'
import { UsageError } from '../../src/errors.ts'
import type { GenaiOptions, GgufOptions, HfDenseOptions, MixtralOptions } from '../../src/index.ts'
import type { Context, Library } from '../context.ts'
import { addOutputOptions, present } from '../options.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { outline } from '../report/outline.ts'

type Flags = {
  readonly to: 'hf-dense' | 'mixtral' | 'gguf' | 'genai'
  readonly out: string
  readonly weights?: 'exact' | 'f16' | 'bf16' | 'f32' | 'q8_0'
  readonly native?: boolean
  readonly portable?: boolean
  readonly json?: boolean
}

const HELP = `
Formats:
  hf-dense   a Hugging Face model folder with the pruned weights as dense matrices, zeros in place; one expert only
  mixtral    a Hugging Face folder of a Mixtral model with one expert per token; shared routers without bias
  gguf       one file for llama.cpp, of a mixture with shared routers without bias or of one expert
  genai      a folder of onnxruntime-genai: graph, weights, tokenizer, genai_config.json, and our operators where built

Examples:
  $ spexpand compress --method sparsegpt --sparsity 0.5 --out pruned
  $ spexpand export pruned --to hf-dense --out pruned-hf
  $ spexpand export pruned --to hf-dense --weights bf16 --out pruned-hf
  $ spexpand compress --no-router-bias --out mixture
  $ spexpand export mixture --to mixtral --out mixture-hf
  $ spexpand export mixture --to gguf --weights q8_0 --out mixture.gguf
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
    .addOption(
      new Option('--to <format>', 'form to write')
        .choices(['hf-dense', 'mixtral', 'gguf', 'genai'])
        .makeOptionMandatory(),
    )
    .requiredOption('-o, --out <path>', 'folder to write; gguf: file')
    .addOption(
      new Option(
        '--weights <type>',
        'element type of the FF weights, gguf: of all (default: exact, the smallest that rounds nothing; gguf: f16)',
      ).choices(['exact', 'f16', 'bf16', 'f32', 'q8_0']),
    )
    .option('--native', 'genai: our operator library goes with it (default: where it is built)')
    .addOption(new Option('--portable', 'genai: without it, for any platform, many times slower').conflicts('native'))
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((artifact: string, flags: Flags) => runExport(artifact, flags, context))
}

async function runExport(artifact: string, flags: Flags, context: Context): Promise<void> {
  const { to, weights, json } = flags
  const native = flags.native ?? (flags.portable ? false : undefined)
  if (to !== 'genai' && native !== undefined)
    throw new UsageError(`export: --${native ? 'native' : 'portable'} is for --to genai, got --to ${to}`)
  if (to === 'genai' && weights !== undefined)
    throw new UsageError(
      'export: --weights is for --to hf-dense, mixtral and gguf, got --to genai, which keeps the weights as they are',
    )
  if (to !== 'gguf' && weights === 'q8_0')
    throw new UsageError(`export: --weights q8_0 is for --to gguf, got --to ${to}`)
  const result = await written(await context.library(), artifact, flags, native)
  context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : outline(result))
}

async function written(library: Library, artifact: string, flags: Flags, native: boolean | undefined): Promise<object> {
  const { to, out } = flags
  if (to === 'genai') return library.exportGenai(present<GenaiOptions>({ artifact, out, native }))
  if (to === 'gguf') return library.exportGguf(present<GgufOptions>({ artifact, out, weights: flags.weights }))
  const weights = flags.weights === 'q8_0' ? undefined : flags.weights
  return to === 'mixtral'
    ? library.exportMixtral(present<MixtralOptions>({ artifact, out, weights }))
    : library.exportHfDense(present<HfDenseOptions>({ artifact, out, weights }))
}
