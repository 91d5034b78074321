import type { Command } from 'commander'
import type { GenerateAllOptions, GenerateOptions, GenerateResult, Provider } from '../../src/index.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../../src/errors.ts'
import { decimal, repeated, whole } from '../flags.ts'
import { count, digits, duration } from '../format.ts'
import { addChoosingOptions, addGriffinOption, griffinOption } from '../griffin-option.ts'
import type { ModelFlags } from '../options.ts'
import { addModelOptions, addOutputOptions, MODEL, addProviderOption, addThreadsOption, present } from '../options.ts'
import { progressView } from '../progress.ts'
import { EXIT_CODES_HELP } from '../report/exit-codes.ts'

type Flags = ModelFlags &
  Pick<GenerateOptions, 'scores' | 'select'> & {
    readonly prompt?: string
    readonly prompts?: string
    readonly chat?: boolean
    readonly system?: string
    readonly stop?: readonly string[]
    readonly promptChunk?: number
    readonly maxNewTokens?: number
    readonly temperature?: number
    readonly topK?: number
    readonly topP?: number
    readonly seed?: number
    readonly provider?: Provider
    readonly threads?: number
    readonly griffin?: string | true
    readonly hire?: boolean
    readonly json?: boolean
    readonly quiet?: boolean
  }

const HELP = `
Examples:
  $ spexpand generate demo-spexpand --prompt 'And it came to pass'
  $ spexpand generate smol-70 --prompt 'The capital of France is' --max-new-tokens 32
  $ spexpand generate ./SmolLM2 --prompt 'Once upon a time' --griffin 0.5 --provider spexpand
  $ spexpand generate ./SmolLM2 --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95 --seed 7 --json
  $ spexpand generate smol-70 --chat --system 'Answer in one word.' --prompt 'Where is Paris?' --stop .

The text goes to standard output as it is made, progress and speed to standard error.
${EXIT_CODES_HELP}`

/** `generate`: text, to see that a model speaks, and how fast. */
export function addGenerateCommand(program: Command, context: Context): void {
  const command = program
    .command('generate')
    .description('continue a text with an artifact or a dense model')
    .argument('<model>', `artifact folder, or ${MODEL}`)
    .option('--prompt <text>', 'text to continue')
    .option('--chat', 'the prompt is what a user says: the chat template of the model makes a conversation of it')
    .option('--system <text>', 'with --chat: what the conversation begins with')
    .option('--stop <text>', 'text that ends the continuation, not part of it; repeat for more', repeated)
    .option('--max-new-tokens <n>', 'tokens to make at most (default: 64)', whole('--max-new-tokens', MIN_ONE))
    .option('--temperature <t>', '0: always the most likely token (default: 0)', decimal('--temperature', TEMPERATURE))
    .option('--top-k <n>', 'sample from the k most likely tokens, 0: from all (default: 0)', whole('--top-k', MIN_ZERO))
    .option(
      '--top-p <p>',
      'sample from the most likely tokens that together reach p (default: 1)',
      decimal('--top-p', { min: 0.001, max: 1, example: '0.95' }),
    )
    .option('--seed <n>', 'seed of the samples, and of --select (default: 0)', whole('--seed', SEED))
  addChoosingOptions(addGriffinOption(command, 'decode'))
  command
    .option('--prompt-chunk <n>', 'tokens of a prompt that run at once', whole('--prompt-chunk', MIN_ONE))
    .option('--prompts <file>', 'instead of --prompt: JSON lines with "prompt", continued one after the other')
    .option('--hire', 'decode with what HiRE predicts (folders that predict --hire wrote or amended)')
  addProviderOption(command, 'of an artifact spexpand where the native operators are built, else cpu')
  addThreadsOption(command)
  addModelOptions(command)
  addOutputOptions(command)
    .addHelpText('after', HELP)
    .action((model: string, flags: Flags) => runGenerate(model, flags, context))
}

const MIN_ONE = { min: 1, example: '64' }
const MIN_ZERO = { min: 0, example: '40' }
const TEMPERATURE = { min: 0, max: 100, example: '0.8' }
const SEED = { min: 0, max: 2 ** 32 - 1, example: '0' }

async function runGenerate(model: string, flags: Flags, context: Context): Promise<void> {
  const { prompt, prompts: file, ...same } = flags
  if ((prompt === undefined) === (file === undefined))
    throw new UsageError('generate: wanted one of --prompt <text> and --prompts <file>')
  return file === undefined ? runOne(model, prompt!, same, context) : runAll(model, file, same, context)
}

async function runOne(model: string, prompt: string, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, griffin: wanted, ...same } = flags
  const griffin = griffinOption(wanted)
  const library = await context.library()
  // The prompt is repeated once there is something to add to it: an error leaves standard output empty.
  let heading = flags.chat ? '' : prompt
  const view = progressView(context, flags)
  const show = (text: string): void => {
    view.stop()
    context.stdout.write(heading + text)
    heading = ''
  }
  const onText = json ? undefined : show
  const { onProgress } = view
  const result = await library
    .generate(present<GenerateOptions>({ ...same, prompt, griffin, model, onText, onProgress, signal: context.signal }))
    .finally(() => view.stop())
  if (json) context.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  else show('\n')
  if (!json && !quiet) context.stderr.write(`${speedLine(result)}\n`)
}

async function runAll(model: string, file: string, flags: Flags, context: Context): Promise<void> {
  const { json, quiet, griffin: wanted, ...same } = flags
  const griffin = griffinOption(wanted)
  const library = await context.library()
  const view = progressView(context, flags)
  const onResult = (result: GenerateResult): void => {
    view.stop()
    context.stdout.write(`${result.prompt}${flags.chat ? '\n' : ''}${result.text}\n`)
    if (!quiet) context.stderr.write(`${speedLine(result)}\n`)
  }
  const { onProgress } = view
  const options = { ...same, griffin, model, prompts: { file }, onProgress, signal: context.signal }
  const results = await library
    .generateAll(present<GenerateAllOptions>({ ...options, onResult: json ? undefined : onResult }))
    .finally(() => view.stop())
  if (json) context.stdout.write(`${JSON.stringify(results, null, 2)}\n`)
}

function speedLine(result: GenerateResult): string {
  const { promptTokens, newTokens, promptMs, decodeMs, promptTokensPerSecond, decodeTokensPerSecond } = result
  const { firstTokenMs } = result
  const first = firstTokenMs === undefined ? '' : `first token after ${duration(firstTokenMs)}; `
  const prompt = `${first}prompt ${count(promptTokens)} tokens in ${duration(promptMs)} (${digits(promptTokensPerSecond, 3)}/s)`
  const rate = decodeTokensPerSecond > 0 ? ` (${digits(decodeTokensPerSecond, 3)}/s)` : ''
  return (
    `${prompt}, ${count(newTokens)} new in ${duration(decodeMs)}${rate}; ` +
    `${result.runtime}, ${result.threads} thread${result.threads === 1 ? '' : 's'}${griffinPart(result)}`
  )
}

const FORMS = {
  gathered: 'weights gathered in',
  native: 'NeuronSubsetFFN, selected in',
  masked: 'the others computed and set to 0: no time gained, selected in',
} as const

function griffinPart({ griffin }: GenerateResult): string {
  if (!griffin) return ''
  const kept = griffin.neurons.reduce((sum, k) => sum + k, 0) / griffin.neurons.length
  return `; GRIFFIN: ${count(kept)} neurons a layer, ${FORMS[griffin.form]} ${duration(griffin.selectMs)}`
}
