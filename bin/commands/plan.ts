import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { decimal } from '../flags.ts'
import type { CompressionFlags } from '../options.ts'
import { addCompressionOptions, addOutputOptions, compressionOptions, MODEL, present } from '../options.ts'
import { progressView } from '../progress.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'
import { planReport } from '../report/plan.ts'

type Flags = CompressionFlags & {
  readonly out?: string
  readonly probe: boolean
  readonly fromReport?: string
  readonly sparsitySpread?: number
  readonly profileOut?: string
  readonly json?: boolean
  readonly quiet?: boolean
}

type PlanFlags = Pick<Flags, 'out' | 'fromReport' | 'sparsitySpread' | 'profileOut'>

const HELP = `
Examples:
  $ spexpand plan
  $ spexpand plan ./SmolLM2 --experts 16 --sparsity 0.7
  $ spexpand plan ./SmolLM2 --experts 32 --no-probe --json
  $ spexpand plan ./SmolLM2 --from-report entanglement.json --profile-out profile.json
${EXIT_CODES_HELP}`

/** `plan`: what a run would cost and give, before it. */
export function addPlanCommand(program: Command, context: Context): void {
  const command = program
    .command('plan')
    .description('say what compress would cost and give, without doing it')
    .argument('[model]', `${MODEL} (default: the embedded demo model)`)
    .option('-o, --out <folder>', 'where the artifact would go, to look at the free disk space there')
  addCompressionOptions(command)
    .option('--no-probe', 'do not time this machine: no estimate of the duration')
    .option('--from-report <file>', 'propose experts by layer from an entanglement.json, with a mean of --experts')
    .option(
      '--sparsity-spread <share>',
      'with --from-report: zeros by which layers may differ from --sparsity (default: 0)',
      decimal('--sparsity-spread', { min: 0, below: 1, example: '0.05' }),
    )
    .option('--profile-out <file>', 'with --from-report: write the profile, for compress --experts-profile')
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string | undefined, flags: Flags) => runPlan(model, flags, context))
}

async function runPlan(model: string | undefined, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, out, probe, fromReport, sparsitySpread, profileOut, ...compression } = flags
  const options = compressionOptions(model, compression)
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  try {
    const result = await library.plan({
      ...options,
      ...present<PlanFlags>({ out, fromReport, sparsitySpread, profileOut }),
      probe,
      onProgress: view.onProgress,
      signal: context.signal,
    })
    view.stop()
    for (const warning of result.warnings) context.log.event('warning', 'warning', { warning })
    context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : planReport(result))
  } finally {
    view.stop()
  }
}
