import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { z } from 'zod'
import { proposeProfile } from '../entangle/profile.ts'
import type { ExpertsProfile } from '../mixture/profile.ts'
import { PROFILE_VERSION } from '../mixture/profile.ts'
import type { EntangleReport } from '../entangle/types.ts'
import { FormatError, IntegrityError, UsageError } from '../errors.ts'
import { readJsonObject } from '../model/json.ts'
import type { OpenedModel } from '../model/open.ts'
import { sourceHash } from './fingerprint.ts'
import type { Resolved } from './options.ts'
import type { Pattern } from './types.ts'

const MAX_PROFILE_BYTES = 1e6
/** Reports have about 60 bytes a neuron and measure. */
const MAX_REPORT_BYTES = 4e9
const MAX_EXPERTS = 256

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits')
const profileSchema = z.strictObject({
  profileVersion: z.literal(PROFILE_VERSION),
  sourceSha256: sha256.exactOptional(),
  rule: z.string().exactOptional(),
  layers: z.array(
    z.strictObject({
      experts: z.int().min(1).max(MAX_EXPERTS),
      sparsity: z.number().min(0).lt(1).exactOptional(),
    }),
  ),
})

const measure = z.array(
  z
    .number()
    .nullable()
    .transform((value) => value ?? NaN),
)
/** What a proposal reads of entanglement.json. */
const reportSchema = z.object({
  reportVersion: z.literal(1),
  sourceSha256: sha256,
  shape: z.object({ layers: z.int().min(1) }),
  mixture: z.object({ experts: z.int().min(1), sparsity: z.number() }).exactOptional(),
  matrices: z.array(
    z.object({
      layer: z.int().min(0),
      wd: measure,
      expansion: z.object({ ri: measure, error: measure }).exactOptional(),
    }),
  ),
})

/** Reads and checks a profile. Throws FormatError naming file, field and what was wanted. */
export function readProfile(path: string): ExpertsProfile {
  return checked(path, profileSchema, MAX_PROFILE_BYTES)
}

/** Writes a profile, to be read by readProfile(). */
export function writeProfile(path: string, profile: ExpertsProfile): void {
  writeFileSync(path, `${JSON.stringify(profile, undefined, 2)}\n`)
}

/**
 * A profile for `model` from the entanglement.json at `path`. Throws FormatError when it is no report, IntegrityError when
 * it is of another model, UsageError when spread and sparsity do not fit.
 */
export async function profileFromReport(
  path: string,
  model: OpenedModel,
  options: Resolved,
  spread: number,
): Promise<ExpertsProfile> {
  const report = checked(path, reportSchema, MAX_REPORT_BYTES)
  if (report.shape.layers !== model.config.layers || report.matrices.length === 0)
    throw new IntegrityError(
      `Cannot plan from ${path}: it is of ${report.shape.layers} layers, the model has ${model.config.layers}: give the report of this model`,
    )
  await assertSource(path, report.sourceSha256, model)
  assertMeasured(path, report)
  const { pattern, experts } = options
  if (pattern.kind === 'n:m' && spread > 0)
    throw new UsageError(`--sparsity-spread ${spread} with --pattern: every layer has the same n:m zeros`)
  const sparsity = pattern.kind === 'unstructured' ? pattern.sparsity : pattern.n / pattern.m
  if (!(spread >= 0 && sparsity - spread >= 0 && sparsity + spread < 1))
    throw new UsageError(`--sparsity-spread ${spread} with sparsity ${sparsity}: wanted both ends in [0, 1)`)
  return proposeProfile(report as unknown as EntangleReport, { experts, sparsity, spread, maxExperts: MAX_EXPERTS })
}

/** Every layer has to have what layers are ranked by. */
function assertMeasured(path: string, { shape, mixture, matrices }: z.output<typeof reportSchema>): void {
  const unmeasured = mixture && matrices.find(({ expansion }) => !expansion)
  if (unmeasured)
    throw new FormatError(
      `Cannot plan from ${path}: it is of a mixture, but layer ${unmeasured.layer} has no expansion`,
    )
  const measured = new Set(matrices.map(({ layer }) => layer))
  for (let layer = 0; layer < shape.layers; layer++)
    if (!measured.has(layer)) throw new FormatError(`Cannot plan from ${path}: it has no matrix of layer ${layer}`)
}

/** The profile that the options name, checked against the model; undefined without one. */
export async function profileOf(
  path: string | undefined,
  model: OpenedModel,
  options: Resolved,
): Promise<ExpertsProfile | undefined> {
  if (path === undefined) return undefined
  const profile = readProfile(path)
  await assertFits(path, profile, model, options)
  return profile
}

async function assertFits(
  path: string,
  { layers, sourceSha256 }: ExpertsProfile,
  model: OpenedModel,
  options: Resolved,
): Promise<void> {
  if (layers.length !== model.config.layers)
    throw new UsageError(`Cannot use ${path}: it has ${layers.length} layers, the model has ${model.config.layers}`)
  if (sourceSha256 !== undefined) await assertSource(path, sourceSha256, model)
  if (options.method !== 'sparse-expansion' && layers.some(({ experts }) => experts > 1))
    throw new UsageError(`Cannot use ${path} with --method ${options.method}: it has one expert by definition`)
  if (options.pattern.kind === 'n:m' && layers.some(({ sparsity }) => sparsity !== undefined))
    throw new UsageError(`Cannot use ${path} with --pattern: it gives a sparsity: leave one of them out`)
  if (options.stockBody === 'fold' && new Set(layers.map(({ experts }) => experts)).size > 1)
    throw new UsageError(
      `Cannot use ${path} with --stock-body fold: its body is written for one number of experts, layers here differ: use stream`,
    )
}

async function assertSource(path: string, sha: string, model: OpenedModel): Promise<void> {
  const found = (await sourceHash(model)).sha256
  if (found !== sha)
    throw new IntegrityError(
      `Cannot use ${path}: it was made for the model ${sha}, this is ${found}: make one for this model (plan --from-report)`,
    )
}

/** Options with a profile, whose largest layer says how many experts there are. */
export function withProfile(options: Resolved, profile: ExpertsProfile | undefined): Resolved {
  if (!profile) return options
  return { ...options, profile, experts: Math.max(...profile.layers.map(({ experts }) => experts)) }
}

/** Experts and pattern of one layer. */
export function layerOptions(
  { experts, pattern, profile }: Pick<Resolved, 'experts' | 'pattern' | 'profile'>,
  layer: number,
): { experts: number; pattern: Pattern } {
  const own = profile?.layers[layer]
  if (!own) return { experts, pattern }
  const { sparsity } = own
  return { experts: own.experts, pattern: sparsity === undefined ? pattern : { kind: 'unstructured', sparsity } }
}

/** Equal profiles have equal digests, whatever their rule says and however the file is written. */
export function profileDigest({ layers }: ExpertsProfile): string {
  const plain = layers.map(({ experts, sparsity }) => [experts, sparsity ?? null])
  return createHash('sha256').update(JSON.stringify(plain)).digest('hex')
}

function checked<T>(path: string, schema: z.ZodType<T>, maxBytes: number): T {
  const result = schema.safeParse(readJsonObject(path, maxBytes))
  if (result.success) return result.data
  const { path: field, message } = result.error.issues[0]!
  throw new FormatError(`Cannot read ${path}: ${field.join('.') || 'the top level'}: ${message}`)
}
