import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { addOutputOptions } from '../options.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { outline } from '../report/outline.ts'

const HELP = `
Examples:
  $ spexpand inspect demo-spexpand
  $ spexpand inspect demo-spexpand/model.onnx
  $ spexpand inspect ./SmolLM2/model.safetensors --json
${EXIT_CODES_HELP}`

/** `inspect`: what is in an artifact, a model folder, a safetensors, GGUF or ONNX file. */
export function addInspectCommand(program: Command, context: Context): void {
  const command = program
    .command('inspect')
    .description('say what is in an artifact, a model folder, a safetensors, GGUF or ONNX file')
    .argument('<path>', 'artifact or model folder, .safetensors, .gguf or .onnx file')
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((path: string, flags: { readonly json?: boolean }) => runInspect(path, flags, context))
}

async function runInspect(path: string, { json }: { readonly json?: boolean }, context: Context): Promise<void> {
  const library = await context.library()
  const result = await library.inspect(path)
  context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : outline(result))
}
