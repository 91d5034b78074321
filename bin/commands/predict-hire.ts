import type { Command } from 'commander'
import type { HireOptions } from '../../src/index.ts'
import { UsageError } from '../../src/errors.ts'
import type { Context } from '../context.ts'
import { choice, decimal, repeated, whole } from '../flags.ts'
import { present, textSource } from '../options.ts'
import { progressView } from '../progress.ts'
import { hireReport } from '../report/predict-hire.ts'

/** Flags of `predict --hire`, as commander hands them over. */
export type HireFlags = Pick<
  HireOptions,
  | 'rank'
  | 'groupSize'
  | 'recall'
  | 'klBudget'
  | 'parts'
  | 'share'
  | 'softmaxK'
  | 'group'
  | 'always'
  | 'keep'
  | 'tokens'
  | 'windows'
  | 'sequenceLength'
  | 'seed'
  | 'threads'
  | 'out'
  | 'speed'
> & {
  readonly hire?: 'lr' | 'q'
  readonly bits?: '8' | '4'
  readonly hireTables?: boolean
  readonly text?: readonly string[]
  readonly calibrationText?: readonly string[]
  readonly json?: boolean
  readonly quiet?: boolean
}

const SHARE = { above: 0, max: 1, example: '0.98' }

function least(example: string): { min: number; example: string } {
  return { min: 1, example }
}

/** The flags that only `--hire` has. */
export function addHireOptions(command: Command): Command {
  return command
    .option(
      '--hire <kind>',
      'predictors for every token (HiRE): lr (low rank) or q (rounded rows)',
      choice('--hire', KINDS),
    )
    .option('--rank <r>', 'HiRE lr: rank of every predictor (default: chosen by layer)', whole('--rank', least('64')))
    .option('--bits <n>', 'HiRE q: 4 or 8 bits (default: 4)', choice('--bits', ['4', '8'] as const))
    .option('--recall <share>', 'HiRE: least share found of what counts (default: 0.98)', decimal('--recall', SHARE))
    .option(
      '--parts <which>',
      'HiRE: ff, softmax or both (default: both; of an artifact, softmax)',
      choice('--parts', PARTS),
    )
    .option('--share <k>', 'HiRE: neurons that count, a share of the layer (default: 0.25)', decimal('--share', SHARE))
    .option(
      '--softmax-k <n>',
      'HiRE: tokens of the softmax that count (default: 32)',
      whole('--softmax-k', least('32')),
    )
    .option(
      '--group <g>',
      'HiRE: neurons selected together, sorted by co-activation (default: 1)',
      whole('--group', least('8')),
    )
    .option(
      '--always <share>',
      'HiRE: always select neurons that count this often (default: none)',
      decimal('--always', SHARE),
    )
    .option('--keep <which>', 'HiRE: all k-prime, or cut to k (default: all)', choice('--keep', ['all', 'k'] as const))
    .option('--tokens <n>', 'HiRE: calibration tokens (default: 16384)', whole('--tokens', least('16384')))
    .option('--calibration-text <file>', 'HiRE: calibration text (default: the bundled one)', repeated)
    .option(
      '--seed <n>',
      "seed of HiRE's calibration windows, and of --select (default: 0)",
      whole('--seed', { min: 0, example: '0' }),
    )
    .option('--hire-tables', 'HiRE: also measure quality and speed at several densities')
}

const KINDS = ['lr', 'q'] as const
const PARTS = ['both', 'ff', 'softmax'] as const

/** `predict --hire`: flags → predictHireFiles() → text or JSON. */
export async function runPredictHire(model: string | undefined, flags: HireFlags, context: Context): Promise<void> {
  const { json, quiet, hire: kind, bits, hireTables, text, calibrationText, ...same } = flags
  if (kind === undefined) throw new UsageError('--hire: got nothing, wanted lr or q')
  const library = await context.library()
  const view = progressView(context, { quiet: quiet ?? false })
  try {
    const options = present<HireOptions>({
      ...same,
      kind,
      model,
      tables: hireTables,
      bits: bits === undefined ? undefined : bits === '8' ? 8 : 4,
      text: textSource(text),
      calibration: textSource(calibrationText),
      onProgress: view.onProgress,
      signal: context.signal,
    })
    const result = await library.predictHireFiles(options)
    view.stop()
    context.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : hireReport(result))
  } finally {
    view.stop()
  }
}
