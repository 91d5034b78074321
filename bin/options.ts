import type { Command } from 'commander'
import { Option } from 'commander'
import { UsageError } from '../src/errors.ts'
import type { CompressOptions, Method, Pattern, TextSource, ValueType } from '../src/index.ts'
import { choice, decimal, memory, nOfM, repeated, whole } from './flags.ts'

const PROVIDERS = ['cpu', 'spexpand', 'cuda', 'webgpu'] as const
const VALUES = ['f16', 'bf16', 'int8', 'int4'] as const
const METHODS = ['sparse-expansion', 'sparsegpt', 'wanda', 'magnitude'] as const

/** What the commands call a model. */
export const MODEL = 'model folder in Hugging Face layout, .gguf file, or owner/name of the hub'

/** Flags of every command that takes a model. */
export type ModelFlags = {
  readonly revision?: string
  readonly offline?: boolean
  readonly chatTemplate?: boolean
}

/** Flags that `compress` and `plan` share, as commander hands them over. */
export type CompressionFlags = ModelFlags & {
  readonly text?: readonly string[]
  readonly method?: Method
  readonly experts?: number
  readonly expertsProfile?: string
  readonly sparsity?: number
  readonly pattern?: Pattern
  readonly values?: ValueType
  readonly groupSize?: number
  readonly router?: 'shared' | 'split'
  readonly routerBias?: boolean
  readonly tokens?: number
  readonly sequenceLength?: number
  readonly seed?: number
  readonly damping?: number
  readonly dampingMax?: number
  readonly refine?: number
  readonly minTokensPerExpert?: number
  readonly trueSequential?: boolean
  readonly stockBody?: 'stream' | 'fold'
  readonly native?: boolean
  readonly threads?: number
  readonly maxMemory?: number
}

/** Every flag that decides what an artifact becomes; one word each, the same as in the library's options. */
export function addCompressionOptions(command: Command): Command {
  command.option(
    '--experts <k>',
    'experts per FF layer, 1 to 256 (default: 16; 1 is plain SparseGPT)',
    whole('--experts', { min: 1, max: 256, example: '16' }),
  )
  addPatternOptions(command).option(
    '--method <name>',
    `${METHODS.join(', ')} (default: sparse-expansion)`,
    choice('--method', METHODS),
  )
  addValueOptions(command, 'f16').option(
    '--router <kind>',
    'shared: one router per FF layer; split: the down projection has its own (default: shared)',
    choice('--router', ['shared', 'split'] as const),
  )
  command.option('--no-router-bias', 'routers without a bias, as export --to mixtral and --to gguf need them')
  command.option(
    '--experts-profile <file>',
    'experts, and sparsity, by layer instead of --experts (plan --from-report writes one)',
  )
  addTextOption(command, 'calibration text (default: the bundled calibration text)')
    .option('--tokens <n>', 'calibration tokens (default: 131072)', whole('--tokens', { min: 1, example: '131072' }))
    .option(
      '--sequence-length <n>',
      'tokens of one window (default: 256)',
      whole('--sequence-length', { min: 2, example: '256' }),
    )
    .option(
      '--seed <n>',
      'seed of windows and clusters (default: 0)',
      whole('--seed', { min: 0, max: 2 ** 32 - 1, example: '0' }),
    )
  return addSolverOptions(command)
}

function addSolverOptions(command: Command): Command {
  addRefineOption(addDampingOption(command), '1')
    .option(
      '--damping-max <fraction>',
      'largest damping tried when a factorisation fails (default: 1)',
      decimal('--damping-max', { above: 0, example: '1' }),
    )
    .option(
      '--min-tokens-per-expert <n>',
      'stop when an expert has fewer calibration tokens (default: 1; 0 lets empty experts pass)',
      whole('--min-tokens-per-expert', { min: 0, example: '128' }),
    )
    .option('--true-sequential', 'calibrate down on the intermediates of the pruned gate and up')
    .option(
      '--stock-body <body>',
      'how runtimes without sparse kernels compute: stream (small memory) or fold (dense speed) (default: stream)',
      choice('--stock-body', ['stream', 'fold'] as const),
    )
  addMaxMemoryOption(addNativeOption(command))
  addModelOptions(command)
  return addThreadsOption(command)
}

/** --max-memory */
export function addMaxMemoryOption(command: Command): Command {
  return command.option(
    '--max-memory <size>',
    'resident memory to keep to, e.g. 6G; too little is refused before the run (default: what is fastest)',
    memory('--max-memory'),
  )
}

/** --values and --group-size: how kept weights are stored. */
export function addValueOptions(command: Command, otherwise: string): Command {
  return command
    .option(
      '--values <type>',
      `kept weights as ${VALUES.join(', ')} (default: ${otherwise})`,
      choice('--values', VALUES),
    )
    .option(
      '--group-size <n>',
      'inputs that share a scale of int8 or int4: 32, 64, 128 or 0, a whole row (default: 0 for int8, 128 for int4)',
      whole('--group-size', { min: 0, max: 128, example: '128' }),
    )
}

export function addNativeOption(command: Command): Command {
  return command.option(
    '--no-native',
    'compute with onnxruntime only, also where the native products are faster (last bits differ)',
  )
}

/** --sparsity or --pattern, never both. */
export function addPatternOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--sparsity <fraction>', 'share of zeros in the FF matrices, in [0, 1) (default: 0.7)').argParser(
        decimal('--sparsity', { min: 0, below: 1, example: '0.7' }),
      ),
    )
    .addOption(
      new Option('--pattern <n:m>', 'n zeros in every m inputs instead of a share, e.g. 2:4')
        .argParser(nOfM('--pattern'))
        .conflicts('sparsity'),
    )
}

export function addDampingOption(command: Command): Command {
  return command.option(
    '--damping <fraction>',
    'damping added to H, as a fraction of mean(diag H) (default: 0.01)',
    decimal('--damping', { above: 0, example: '0.01' }),
  )
}

/** --refine: what SparseGPT leaves undone. */
export function addRefineOption(command: Command, otherwise: string): Command {
  return command.option(
    '--refine <n>',
    `passes over the kept weights after the sweep; 0 is SparseGPT (default: ${otherwise})`,
    whole('--refine', { min: 0, max: 100, example: '1' }),
  )
}

export function addTextOption(command: Command, what: string): Command {
  return command
    .option('--text <file>', `${what}; .txt or .jsonl, - for standard input; repeat for more`, repeated)
    .option('--chat-template', 'JSON lines with "messages" become text by the chat template of the model')
}

/** --revision and --offline, for models of the hub. */
export function addModelOptions(command: Command): Command {
  return command
    .option('--revision <name>', 'branch, tag or commit of a model of the hub (default: main)')
    .option('--offline', 'take models of the hub from the cache only, as HF_HUB_OFFLINE=1 does')
}

export function addThreadsOption(command: Command): Command {
  return command.option(
    '--threads <n>',
    'worker threads (default: the processors this process may use)',
    whole('--threads', { min: 1, max: 1024, example: '2' }),
  )
}

/** --provider: what computes; another one is never taken instead. */
export function addProviderOption(
  command: Command,
  otherwise = 'spexpand where the native operators are built, else cpu',
): Command {
  return command.option(
    '--provider <name>',
    `what computes: ${PROVIDERS.join(', ')} (default: ${otherwise})`,
    choice('--provider', PROVIDERS),
  )
}

/** --json and --quiet, which every command understands. */
export function addOutputOptions(command: Command): Command {
  return command
    .option('--json', 'print the result, or the error, as one JSON object on standard output')
    .option('--quiet', 'no progress on standard error')
}

/** A library text source, or nothing. Throws UsageError when standard input would have to be read twice. */
export function textSource(
  paths: readonly string[] | undefined,
  others: readonly string[] = [],
): TextSource | undefined {
  if (paths === undefined) return undefined
  if ([...paths, ...others].filter((path) => path === '-').length > 1)
    throw new UsageError('Cannot read standard input twice: got - more than once, wanted a file for the others')
  return { paths }
}

/** The pattern that the flags ask for, or nothing when they leave it to the library. */
export function patternOf(flags: { readonly sparsity?: number; readonly pattern?: Pattern }): Pattern | undefined {
  return (
    flags.pattern ?? (flags.sparsity === undefined ? undefined : { kind: 'unstructured', sparsity: flags.sparsity })
  )
}

/**
 * Library options of the shared flags: absent flags stay absent, so that defaults live in one place. Throws UsageError
 * when several experts are asked of a method that has only one.
 */
export function compressionOptions(model: string | undefined, flags: CompressionFlags): Omit<CompressOptions, 'out'> {
  const { text, sparsity: _, maxMemory: maxMemoryBytes, experts, method, ...same } = flags
  const single = method !== undefined && method !== 'sparse-expansion'
  if (single && experts !== undefined && experts !== 1)
    throw new UsageError(
      `--experts: got ${experts} with --method ${method}, wanted 1: only sparse-expansion has experts`,
    )
  const pattern = patternOf(flags)
  return present<Omit<CompressOptions, 'out'>>({
    ...same,
    model,
    method,
    experts: single ? 1 : experts,
    pattern,
    text: textSource(text),
    maxMemoryBytes,
  })
}

/** `options` without the fields that are undefined. */
export function present<T extends object>(options: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}
