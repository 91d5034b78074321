import { availableParallelism } from 'node:os'
import { UsageError } from '../../errors.ts'
import { evaluateGriffin } from '../predict/griffin-evaluate.ts'
import type { GriffinOption } from '../predict/griffin-option.ts'
import { measureSides } from '../predict/griffin-speed.ts'
import { stopwatch } from '../stopwatch.ts'
import type { EvaluateResult } from '../types.ts'
import type { Gate, GriffinVerification, VerifyOptions, VerifyResult } from './types.ts'

/**
 * What GRIFFIN does to a model: quality behind prompts, the copy task, and for a dense model the speed of decoding one token
 * against all neurons in turns. An artifact gains no time: its other neurons are computed and set to 0.
 */
export async function checkGriffin(
  options: VerifyOptions,
  option: GriffinOption,
  isDense: boolean,
): Promise<GriffinVerification> {
  const threads = options.threads ?? availableParallelism()
  const { windows = 32, provider, ...rest } = options
  const quality: EvaluateResult = await evaluateGriffin(
    { ...rest, windows, threads, ...(provider === undefined ? {} : { provider }) },
    option,
  )
  if (!isDense)
    return { quality, speedNote: 'not timed: the other neurons are computed and set to 0, no time is gained' }
  const rounds = options.rounds ?? 15
  options.onProgress?.({ stage: 'time', done: 0, total: 1 })
  const { nativeMissing, ...speed } = await measureSides(options.model, quality.griffin!.densities, { threads, rounds })
  return {
    quality,
    speed: { threads, rounds, ...speed },
    ...(nativeMissing === undefined ? {} : { speedNote: nativeMissing }),
  }
}

/** verify() of a dense model: GRIFFIN is all there is to verify, and the gates are for it. */
export async function verifyDenseGriffin(options: VerifyOptions, option: GriffinOption): Promise<VerifyResult> {
  const watch = stopwatch()
  if (options.integrity === true || options.dense !== undefined)
    throw new UsageError(`--integrity and --dense are for artifacts: ${options.model} is a dense model`)
  const griffin = await checkGriffin(options, option, true)
  const gates = gatesOf(options, griffin)
  const passed = gates.every((gate) => gate.passed)
  return { model: options.model, griffin, gates, passed, wallMs: watch.totalMs() }
}

function gatesOf(options: VerifyOptions, { quality, speed }: GriffinVerification): Gate[] {
  const gates: Gate[] = []
  const atMost = (gate: string, limit: number, measured: number): unknown =>
    gates.push({ gate, limit, measured, passed: measured <= limit })
  const { maxKl, maxPerplexityRatio, minSpeedup } = options
  if (maxKl !== undefined) atMost('KL from dense', maxKl, quality.kl ?? Number.NaN)
  if (maxPerplexityRatio !== undefined)
    atMost('perplexity by dense', maxPerplexityRatio, quality.perplexity / quality.griffin!.all.perplexity)
  if (minSpeedup !== undefined) {
    const { dense, gathered, native } = speed!.model
    const measured = dense.medianMs / (native ?? gathered).medianMs
    gates.push({ gate: 'speed-up of decoding', limit: minSpeedup, measured, passed: measured >= minSpeedup })
  }
  return gates
}
