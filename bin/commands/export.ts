import type { Command } from 'commander'
import { Option } from 'commander'
import type { Context } from '../context.ts'
import { addOutputOptions, present } from '../options.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { outline } from '../report/outline.ts'

type Flags = {
  readonly to: 'hf-dense'
  readonly out: string
  readonly weights?: 'exact' | 'f16' | 'bf16' | 'f32'
  readonly json?: boolean
}

const HELP = `
Formats:
  hf-dense   a Hugging Face model folder with the pruned weights as dense matrices, zeros in place; one expert only

Examples:
  $ spexpand compress --method sparsegpt --sparsity 0.5 --out pruned
  $ spexpand export pruned --to hf-dense --out pruned-hf
  $ spexpand export pruned --to hf-dense --weights bf16 --out pruned-hf

The weights are those the artifact runs with, bit for bit, unless --weights rounds them. As dense matrices their zeros take
as much memory and time as other numbers.
${EXIT_CODES_HELP}`

/** `export`: an artifact in the form of another runtime. */
export function addExportCommand(program: Command, context: Context): void {
  const command = program
    .command('export')
    .description('write an artifact in the form that other runtimes read')
    .argument('<artifact>', 'artifact folder')
    .addOption(new Option('--to <format>', 'form to write').choices(['hf-dense']).makeOptionMandatory())
    .requiredOption('-o, --out <folder>', 'folder to write')
    .addOption(
      new Option(
        '--weights <type>',
        'element type of the FF weights (default: exact, the smallest that rounds nothing)',
      ).choices(['exact', 'f16', 'bf16', 'f32']),
    )
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((artifact: string, flags: Flags) => runExport(artifact, flags, context))
}

async function runExport(artifact: string, { out, weights, json }: Flags, context: Context): Promise<void> {
  const library = await context.library()
  const result = library.exportHfDense(present<Parameters<typeof library.exportHfDense>[0]>({ artifact, out, weights }))
  context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : outline(result))
}
