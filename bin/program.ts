import { Command } from 'commander'
import { TOOL_VERSION } from '../src/version.ts'
import { addCompressCommand } from './commands/compress.ts'
import { addDoctorCommand } from './commands/doctor.ts'
import { addEntangleCommand } from './commands/entangle.ts'
import { addEvalCommand } from './commands/eval.ts'
import { addExportCommand } from './commands/export.ts'
import { addForwardCommand } from './commands/forward.ts'
import { addGenerateCommand } from './commands/generate.ts'
import { addInspectCommand } from './commands/inspect.ts'
import { addPlanCommand } from './commands/plan.ts'
import { addPredictCommand } from './commands/predict.ts'
import { addPruneMatrixCommand } from './commands/prune-matrix.ts'
import { addVerifyCommand } from './commands/verify.ts'
import type { Context } from './context.ts'
import { EXIT_CODES_HELP } from './report/exit-codes.ts'

const HELP = `
Start with:
  $ spexpand plan                                          what it would cost and give
  $ spexpand compress --experts 16 --sparsity 0.7          the embedded demo model, bundled text
  $ spexpand eval demo-spexpand --text held-out.jsonl      measure an artifact on your text

Results go to standard output, progress and errors to standard error.
${EXIT_CODES_HELP}`

/** Commands are logged from their first moment; `--log-file` stands before or behind the command. */
function beginLog(program: Command, action: Command, { log }: Context): void {
  const { logFile } = program.opts<{ logFile?: string }>()
  if (logFile === undefined) return
  log.open(logFile)
  log.event('info', 'start', {
    command: action.name(),
    options: action.opts(),
    arguments: action.args,
    version: TOOL_VERSION,
    pid: process.pid,
    node: process.version,
  })
}

/** The command line as a commander program that throws instead of exiting. */
export function createProgram(context: Context): Command {
  const program: Command = new Command('spexpand')
    .description('Offline sparse expansion of decoder language models: cluster, prune, export, measure')
    .version(TOOL_VERSION, '-V, --version', 'print the version')
    .option('--log-file <file>', 'write stages, blocks, warnings, errors and signals there, one JSON object a line')
    .helpCommand('help [command]', 'explain a command')
    .configureHelp({ showGlobalOptions: true })
    .hook('preAction', (_, action) => beginLog(program, action, context))
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      // Said once, by main(), in the form of every other error.
      outputError: () => {},
    })
    .addHelpText('after', HELP)
  addCompressCommand(program, context)
  addPlanCommand(program, context)
  addInspectCommand(program, context)
  addEvalCommand(program, context)
  addEntangleCommand(program, context)
  addVerifyCommand(program, context)
  addGenerateCommand(program, context)
  addPredictCommand(program, context)
  addExportCommand(program, context)
  addForwardCommand(program, context)
  addPruneMatrixCommand(program, context)
  addDoctorCommand(program, context)
  return program
}
