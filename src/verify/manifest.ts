import { z } from 'zod'
import { FormatError, UnsupportedError } from '../errors.ts'
import { closeFile, openForReading, readRange } from '../formats/bytes.ts'

/** The format version this reader knows; a higher one is refused. */
const FORMAT_VERSION = 1
/** Statistics of a 200-layer model with 256 experts take about 60 MB. */
const MAX_MANIFEST_BYTES = 200_000_000

/** What kept weights may be stored as. */
const VALUE_TYPES = ['f16', 'bf16', 'int8', 'int4'] as const

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits')
/** A name in the artifact's folder: nothing that leads elsewhere. */
const fileName = z
  .string()
  .regex(/^[^/\\:]+$/, 'a file name without path')
  .refine((name) => name !== '.' && name !== '..', 'a file name without path')
const count = z.int().min(0)
const fraction = z.number().min(0).max(1)
const positive = z.number().min(0)

const expertStats = z.object({
  tokens: count,
  error: positive,
  damping: positive,
  factorizations: count,
  deadInputs: count,
})
const matrixStats = z.object({
  matrix: z.enum(['gate_proj', 'up_proj', 'down_proj']),
  sparsity: fraction,
  error: positive,
  baselineError: positive,
  experts: z.array(expertStats),
})
const manifestSchema = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  tool: z.object({ name: z.literal('spexpand'), version: z.string() }),
  source: z.object({ name: z.string(), sha256, files: z.array(z.object({ name: fileName, sha256 })) }),
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  mixture: z.object({
    layers: count.min(1),
    experts: count.min(1),
    profile: z.array(z.object({ experts: count.min(1), sparsity: fraction.exactOptional() })).exactOptional(),
    router: z.enum(['none', 'shared', 'split']),
    sparsity: fraction,
    values: z.enum(VALUE_TYPES).default('f16'),
    groupSize: count.optional(),
    stockBody: z.enum(['stream', 'fold']),
  }),
  blocks: z.array(
    z.object({
      layer: count,
      tokensPerExpert: z.array(count),
      tokensPerDownExpert: z.array(count).optional(),
      matrices: z.array(matrixStats),
    }),
  ),
  /** What predict measured; whoever uses a section checks it. */
  griffin: z.record(z.string(), z.unknown()).optional(),
  hire: z.record(z.string(), z.unknown()).optional(),
  fallbacks: z.array(z.object({ where: z.string(), what: z.string(), because: z.string() })),
  files: z.array(z.object({ name: fileName, bytes: count, sha256 })),
})

/** spexpand.json as a reader sees it. */
export type ArtifactManifest = z.output<typeof manifestSchema>

/**
 * Reads and checks spexpand.json. Throws FormatError naming file, field and what was wanted, UnsupportedError for a
 * higher format version.
 */
export function readManifest(path: string): ArtifactManifest {
  const json = parseJson(path)
  const version =
    typeof json === 'object' && json !== null ? (json as Record<string, unknown>)['formatVersion'] : undefined
  if (typeof version === 'number' && version > FORMAT_VERSION)
    throw new UnsupportedError(
      `Cannot read ${path}: formatVersion is ${version}, this version reads up to ${FORMAT_VERSION}: update spexpand`,
    )
  assertKnownValues(path, json)
  const result = manifestSchema.safeParse(json)
  if (result.success) return result.data
  const { path: field, message } = result.error.issues[0]!
  throw new FormatError(`Cannot read ${path}: ${field.join('.') || 'the top level'}: ${message}`)
}

/** A value type of a later version is no damage: it deserves its own message. */
function assertKnownValues(path: string, json: unknown): void {
  const { values } = (json as { mixture?: { values?: unknown } } | null)?.mixture ?? {}
  if (typeof values === 'string' && !VALUE_TYPES.some((type) => type === values))
    throw new UnsupportedError(
      `Cannot read ${path}: mixture.values is ${values}, this version reads ${VALUE_TYPES.join(', ')}: update spexpand`,
    )
}

function parseJson(path: string): unknown {
  const file = openForReading(path)
  try {
    if (file.byteLength > MAX_MANIFEST_BYTES)
      throw new FormatError(`Cannot read ${path}: it has ${file.byteLength} bytes, at most ${MAX_MANIFEST_BYTES}`)
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(readRange(file, 0, file.byteLength))) as unknown
  } catch (cause) {
    if (cause instanceof FormatError) throw cause
    const reason = (cause as Error).message.replaceAll(/\s+/g, ' ')
    throw new FormatError(`Cannot read ${path}: it is not JSON: ${reason}`, { cause })
  } finally {
    closeFile(file)
  }
}
