import { z } from 'zod'
import { FormatError, IntegrityError, UnsupportedError } from '../errors.ts'
import { closeFile, openForReading, readRange } from '../formats/bytes.ts'
import { textSha256 } from '../formats/sha256.ts'

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
  damping: z.object({ experts: count, raised: count, failed: count, least: positive, most: positive }).exactOptional(),
  /** What predict measured; whoever uses a section checks it. */
  griffin: z.record(z.string(), z.unknown()).optional(),
  hire: z.record(z.string(), z.unknown()).optional(),
  fallbacks: z.array(z.object({ where: z.string(), what: z.string(), because: z.string() })),
  files: z.array(
    z.object({
      name: fileName,
      bytes: count,
      sha256,
      headerSha256: sha256.exactOptional(),
      tensors: z.array(z.object({ name: z.string(), sha256 })).exactOptional(),
    }),
  ),
  manifestSha256: sha256.exactOptional(),
})

/** spexpand.json as a reader sees it. */
export type ArtifactManifest = z.output<typeof manifestSchema>

/** The manifest's checksum of itself, the same in every format version. */
const SEAL = /"manifestSha256":\s*"([0-9a-f]{64})"/

/**
 * Reads and checks spexpand.json. Throws FormatError naming file, field and what was wanted, UnsupportedError for a
 * higher format version, IntegrityError where it does not have its own checksum.
 */
export function readManifest(path: string): ArtifactManifest {
  const text = readText(path)
  checkSeal(text, path)
  const manifest = checked(path, parseJson(text, path))
  // Manifests without it are as old as those without checksums of tensors: it cannot be missing alone.
  if (manifest.manifestSha256 === undefined && manifest.files.some(({ tensors }) => tensors))
    throw new IntegrityError(`Manifest ${path} is damaged: its manifestSha256 is missing: copy the artifact again`)
  return manifest
}

function checkSeal(text: string, path: string): void {
  const digits = SEAL.exec(text)?.[1]
  if (digits === undefined) return
  const found = textSha256(text.replace(SEAL, (seal) => seal.replace(digits, '0'.repeat(64))))
  if (found !== digits)
    throw new IntegrityError(
      `Manifest ${path} is damaged: its SHA-256 is ${found}, its manifestSha256 says ${digits}: copy the artifact again`,
    )
}

function checked(path: string, json: unknown): ArtifactManifest {
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

function readText(path: string): string {
  const file = openForReading(path)
  try {
    if (file.byteLength > MAX_MANIFEST_BYTES)
      throw new FormatError(`Cannot read ${path}: it has ${file.byteLength} bytes, at most ${MAX_MANIFEST_BYTES}`)
    const bytes = readRange(file, 0, file.byteLength)
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    if (cause instanceof TypeError) throw new FormatError(`Cannot read ${path}: it is not UTF-8 text`, { cause })
    throw cause
  } finally {
    closeFile(file)
  }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    const reason = (cause as Error).message.replaceAll(/\s+/g, ' ')
    throw new FormatError(`Cannot read ${path}: it is not JSON: ${reason}`, { cause })
  }
}
