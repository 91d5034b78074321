import { availableParallelism } from 'node:os'
import { demoModelFolder } from '../../calibration/bundled.ts'
import type { ExpertsProfile } from '../mixture/profile.ts'
import { UsageError } from '../errors.ts'
import type { ValueForm } from '../mixture/values.ts'
import { VALUE_TYPES } from '../mixture/values.ts'
import { GROUP_SIZES } from '../prune/grid.ts'
import { checkPattern } from '../prune/pattern.ts'
import type { CompressOptions, Method, Pattern } from './types.ts'

/** CompressOptions with every default filled in. */
export type Resolved = Required<Pick<CompressOptions, ResolvedKey>> &
  Pick<CompressOptions, 'maxMemoryBytes' | 'onProgress' | 'signal' | 'text'> & {
    readonly pattern: Pattern
    readonly method: Method
    readonly values: ValueForm
    /** Experts and sparsity by layer, when a profile gives them; `experts` is the largest then. */
    readonly profile?: ExpertsProfile
  }
type ResolvedKey =
  | 'model'
  | 'experts'
  | 'router'
  | 'routerBias'
  | 'tokens'
  | 'sequenceLength'
  | 'damping'
  | 'dampingMax'
  | 'refine'
  | 'minTokensPerExpert'
  | 'trueSequential'
  | 'stockBody'
  | 'native'
  | 'seed'
  | 'threads'

const METHODS: readonly Method[] = ['sparse-expansion', 'sparsegpt', 'wanda', 'magnitude']
/** Routers and tables of experts grow with it; beyond this an expert sees too few tokens to be worth its bytes. */
const MAX_EXPERTS = 256
/** Passes beyond this change nothing that could be measured. */
const MAX_REFINE = 100

/** Fills in defaults and refuses values that cannot be meant. Throws UsageError naming option, got and wanted. */
export function resolveOptions(options: Omit<CompressOptions, 'out'>): Resolved {
  const method = options.method ?? 'sparse-expansion'
  if (!METHODS.includes(method)) throw new UsageError(`Unknown method '${method}': use one of ${METHODS.join(', ')}`)
  if (method !== 'sparse-expansion' && options.experts !== undefined && options.experts !== 1)
    throw new UsageError(`Method '${method}' has one expert by definition: got experts ${options.experts}`)
  if (options.expertsProfile !== undefined && options.experts !== undefined)
    throw new UsageError(
      `--experts ${options.experts} with --experts-profile: the profile says how many each layer has`,
    )
  const pattern = options.pattern ?? { kind: 'unstructured', sparsity: 0.7 }
  checkPattern(pattern, pattern.kind === 'n:m' ? pattern.m : 1)
  const tokens = whole('tokens', options.tokens ?? 131_072, 1)
  const sequenceLength = whole('sequence-length', options.sequenceLength ?? 256, 2)
  if (tokens < sequenceLength)
    throw new UsageError(`--tokens ${tokens} is less than one window of --sequence-length ${sequenceLength}`)
  const damping = positive('damping', options.damping ?? 0.01)
  const dampingMax = positive('damping-max', options.dampingMax ?? Math.max(1, damping))
  const values = valueForm(options)
  if (dampingMax < damping) throw new UsageError(`--damping-max ${dampingMax} is less than --damping ${damping}`)
  return {
    model: options.model ?? demoModelFolder(),
    ...(options.text ? { text: options.text } : {}),
    ...(options.onProgress ? { onProgress: options.onProgress } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.maxMemoryBytes === undefined ? {} : { maxMemoryBytes: whole('max-memory', options.maxMemoryBytes, 1) }),
    method,
    pattern,
    values,
    experts: method === 'sparse-expansion' ? whole('experts', options.experts ?? 16, 1, MAX_EXPERTS) : 1,
    router: options.router ?? 'shared',
    routerBias: options.routerBias ?? true,
    tokens,
    sequenceLength,
    damping,
    dampingMax,
    refine: refinement(method, options.refine, 1),
    minTokensPerExpert: whole('min-tokens-per-expert', options.minTokensPerExpert ?? 1, 0),
    trueSequential: options.trueSequential ?? false,
    stockBody: options.stockBody ?? 'stream',
    native: options.native ?? true,
    seed: whole('seed', options.seed ?? 0, 0),
    threads: whole('threads', options.threads ?? availableParallelism(), 1, 1024),
  }
}

/** Passes of refinement. Throws UsageError for a method that has no Hessian to refine by. */
export function refinement(method: Method, refine: number | undefined, otherwise: number): number {
  const usesHessian = method === 'sparse-expansion' || method === 'sparsegpt'
  if (!usesHessian && refine)
    throw new UsageError(`--refine ${refine} with --method ${method}: only sparse-expansion and sparsegpt can refine`)
  return whole('refine', refine ?? (usesHessian ? otherwise : 0), 0, MAX_REFINE)
}

/** Value type and group size with their defaults. Throws UsageError for those that do not exist. */
export function valueForm({
  values: type = 'f16',
  groupSize,
}: Pick<CompressOptions, 'values' | 'groupSize'>): ValueForm {
  if (!VALUE_TYPES.includes(type))
    throw new UsageError(`Unknown values '${String(type)}': use one of ${VALUE_TYPES.join(', ')}`)
  if (type === 'f16' || type === 'bf16') {
    if (groupSize !== undefined)
      throw new UsageError(`--group-size ${groupSize} with --values ${type}: only int8 and int4 have scales`)
    return { type }
  }
  const size = groupSize ?? (type === 'int4' ? 128 : 0)
  if (!GROUP_SIZES.includes(size))
    throw new UsageError(`--group-size ${size}: wanted one of ${GROUP_SIZES.join(', ')} (0: one scale for a whole row)`)
  return { type, groupSize: size }
}

function whole(name: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new UsageError(
      `--${name} ${value} is out of range: wanted a whole number ${max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `from ${min} to ${max}`}`,
    )
  return value
}

function positive(name: string, value: number): number {
  if (!(value > 0 && Number.isFinite(value)))
    throw new UsageError(`--${name} ${value} is out of range: wanted a number above 0`)
  return value
}
