import type { Command } from 'commander'
import type { Context } from '../context.ts'
import type { ModelFlags } from '../options.ts'
import { addModelOptions, addOutputOptions, MODEL, addThreadsOption, present } from '../options.ts'
import { outline } from '../report/outline.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'

type Flags = ModelFlags & {
  readonly input: string
  readonly out: string
  readonly threads?: number
  readonly json?: boolean
}

const HELP = `
Example:
  $ spexpand forward ./SmolLM2 --input ids.safetensors --out states.safetensors

Reads "input_ids" (batch, sequence). Writes "logits" and for every block "layers.{i}.ffn_in" and "layers.{i}.down_in".
${EXIT_CODES_HELP}`

/** `forward`: the dense model's logits and FF inputs for given token ids, for checks and research. */
export function addForwardCommand(program: Command, context: Context): void {
  const command = program
    .command('forward')
    .description('run a model on token ids and keep logits, FF inputs and intermediates')
    .argument('<model>', MODEL)
    .requiredOption('--input <file>', 'safetensors file with "input_ids" (batch, sequence), integers')
    .requiredOption('-o, --out <file>', 'safetensors file to write')
  addThreadsOption(command)
  addModelOptions(command)
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string, flags: Flags) => runForward(model, flags, context))
}

async function runForward(model: string, { json, ...same }: Flags, context: Context): Promise<void> {
  const library = await context.library()
  const result = await library.forwardFile(present<Parameters<typeof library.forwardFile>[0]>({ ...same, model }))
  context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : outline(result))
}
