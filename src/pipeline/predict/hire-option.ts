import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { FormatError, UnsupportedError, UsageError } from '../../errors.ts'
import { isArtifact, openArtifact, readGraphFile } from '../../verify/artifact.ts'
import type { DecoderSource } from '../open-decoder.ts'
import { HIRE_VERSION } from './hire-types.ts'

const predictor = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('lr'), rank: z.int().min(1) }),
  z.object({ kind: z.literal('q'), bits: z.union([z.literal(4), z.literal(8)]), groupSize: z.int() }),
])
const counts = { predictor, k: z.int().min(1), kPrime: z.int().min(1), recall: z.number().min(0).max(1) }

/** What a reader needs of the `hire` section. */
const sectionSchema = z.object({
  version: z.int(),
  graph: z.literal('hire.onnx'),
  keep: z.enum(['all', 'k']).optional(),
  layers: z.array(z.object({ layer: z.int().min(0), group: z.int().min(1), always: z.int().min(0), ...counts })),
  softmax: z.object(counts).optional(),
})

export type HireFacts = z.output<typeof sectionSchema>

/**
 * The decoder of an artifact with its HiRE. Throws UsageError for a folder without it, UnsupportedError for a section of a
 * later version, FormatError for a damaged one.
 */
export function openHire(folder: string): DecoderSource & { readonly hire: HireFacts } {
  const isSound = isArtifact(folder) && openArtifact(folder) !== undefined
  const hire = isSound ? readSection(folder) : undefined
  if (!hire)
    throw new UsageError(`--hire: ${folder} has no predictors: run predict --hire, on a dense model with --out, first`)
  const source = join(folder, hire.graph)
  return { graph: readGraphFile(source), source, folder, kind: 'artifact', hire }
}

function readSection(folder: string): HireFacts | undefined {
  const path = join(folder, 'spexpand.json')
  const section = (JSON.parse(readFileSync(path, 'utf8')) as { hire?: { version?: unknown } }).hire
  if (section === undefined) return undefined
  if (typeof section.version === 'number' && section.version > HIRE_VERSION)
    throw new UnsupportedError(
      `Cannot read ${path}: hire.version is ${section.version}, this version reads up to ${HIRE_VERSION}: update spexpand`,
    )
  const parsed = sectionSchema.safeParse(section)
  if (parsed.success) return parsed.data
  const { path: field, message } = parsed.error.issues[0]!
  throw new FormatError(`Cannot read ${path}: hire.${field.join('.')}: ${message}`)
}
