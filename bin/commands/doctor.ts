import type { Command } from 'commander'
import type { DoctorResult } from '../../src/index.ts'
import type { Context } from '../context.ts'
import { bytes } from '../format.ts'
import { addOutputOptions } from '../options.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { table } from '../table.ts'

const HELP = `
Examples:
  $ spexpand doctor
  $ spexpand doctor --json

What is missing is a note, not an error.
${EXIT_CODES_HELP}`

/** `doctor`: what this machine and this installation can do, and how to get what is missing. */
export function addDoctorCommand(program: Command, context: Context): void {
  const command = program
    .command('doctor')
    .description('processor, memory, providers and native kernels: what is there, what is missing, how to get it')
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((flags: { readonly json?: boolean }) => runDoctor(flags, context))
}

async function runDoctor({ json }: { readonly json?: boolean }, context: Context): Promise<void> {
  const library = await context.library()
  const result = await library.doctor()
  context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : report(result))
}

function report(result: DoctorResult): string {
  const { cpu, memory, onnxruntime, native, providers, notes } = result
  const rows = [
    ['spexpand', `${result.version}, Node ${result.node}, ${result.platform}`],
    ['processor', `${cpu.model}, ${cpu.usable} of ${cpu.processors} processors usable`],
    ['features', cpu.features.join(' ') || 'not known'],
    ['memory', `${bytes(memory.availableBytes)} of ${bytes(memory.totalBytes)} available`],
    ['onnxruntime', `${onnxruntime.library} (package ${onnxruntime.package})`],
    ['providers', providers.map(({ provider, works }) => `${provider} ${works ? 'yes' : 'no'}`).join(', ')],
    ['operators', native.operators ?? 'not there'],
    ['addon', native.addon === undefined ? 'not there' : `${native.addon} (products: ${native.products})`],
    ['WebAssembly', result.wasm ? 'yes' : 'no'],
  ]
  const columns = [
    { title: '', align: 'left' as const },
    { title: '', align: 'left' as const },
  ]
  const told = notes.length === 0 ? 'Nothing is missing.' : `Notes:\n${notes.map((note) => `  ${note}`).join('\n')}`
  return `${table(columns, rows)}\n\n${told}\n`
}
