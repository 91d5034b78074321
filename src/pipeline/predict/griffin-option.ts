import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { FormatError, IntegrityError, UnsupportedError, UsageError } from '../../errors.ts'
import type { OpenedModel } from '../../model/open.ts'
import { openModel } from '../../model/open.ts'
import type { Provider } from '../../runtime/session.ts'
import { sourceHash } from '../fingerprint.ts'
import { GriffinDecoder } from './griffin-decoder.ts'
import type { GriffinScores } from './griffin-sets.ts'
import { GRIFFIN_SCORES, rankerOf } from './griffin-sets.ts'
import type { DecoderSource } from '../open-decoder.ts'
import { GRIFFIN_VERSION } from './types.ts'

/** Every layer at one density, ranked by the paper's statistic; or what predict() wrote. */
export type GriffinOption = { readonly density: number } | { readonly file: string }

/** What a decoder needs of griffin.json. */
const fileSchema = z.object({
  formatVersion: z.int(),
  source: z.object({ name: z.string(), sha256: z.string() }),
  scores: z.enum(GRIFFIN_SCORES),
  densities: z.array(z.number().positive().max(1)),
})

/**
 * Opens a GRIFFIN decoder over the dense model of `source`. Throws UsageError for an artifact (its experts have
 * neurons of their own) and for other providers than 'cpu', IntegrityError when a file was made for another model.
 */
export async function openGriffin(
  option: GriffinOption,
  source: DecoderSource,
  { threads, provider }: { readonly threads: number; readonly provider: Provider },
): Promise<{ decoder: GriffinDecoder; summary: () => GriffinSummary; close: () => void }> {
  if (source.kind === 'artifact')
    throw new UsageError(
      `--griffin: ${source.folder} is an artifact, whose tokens take different experts: give the dense model it was made from`,
    )
  if (provider !== 'cpu')
    throw new UsageError(`--griffin: got provider ${provider}, wanted cpu: the neurons are gathered for it`)
  const model = openModel(source.folder)
  try {
    const { densities, scores } = 'file' in option ? readGriffin(option.file, model) : alike(option.density, model)
    const rank = rankerOf(model, scores)
    const decoder = await GriffinDecoder.create(
      source.graph,
      model,
      { densities, rank, method: 'top-k', seed: 0 },
      threads,
    )
    const summary = (): GriffinSummary => ({
      neurons: decoder.sets.map((set) => set.length),
      scores,
      selectMs: decoder.selectMs,
    })
    return { decoder, summary, close: () => model.close() }
  } catch (error) {
    model.close()
    throw error
  }
}

type GriffinSummary = { readonly neurons: readonly number[]; readonly scores: GriffinScores; readonly selectMs: number }
type Choice = { readonly densities: readonly number[]; readonly scores: GriffinScores }

function alike(density: number, { config }: OpenedModel): Choice {
  if (!(density > 0 && density <= 1)) throw new UsageError(`--griffin: got ${density}, wanted above 0 and at most 1`)
  return { densities: Array.from({ length: config.layers }, () => density), scores: 'statistic' }
}

/** Densities and ranking of griffin.json. Throws FormatError when it is none, IntegrityError for another model. */
export function readGriffin(path: string, model: OpenedModel): Choice {
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new FormatError(`Cannot read ${path}: ${(cause as Error).message.replaceAll(/\s+/g, ' ')}`, { cause })
  }
  const parsed = fileSchema.safeParse(json)
  if (!parsed.success) {
    const { path: field, message } = parsed.error.issues[0]!
    throw new FormatError(`Cannot read ${path}: ${field.join('.') || 'the top level'}: ${message}`)
  }
  const { formatVersion, source, densities, scores } = parsed.data
  if (formatVersion > GRIFFIN_VERSION)
    throw new UnsupportedError(
      `Cannot read ${path}: formatVersion is ${formatVersion}, this version reads up to ${GRIFFIN_VERSION}: update spexpand`,
    )
  if (source.sha256 !== sourceHash(model).sha256)
    throw new IntegrityError(
      `Cannot use ${path} with ${model.folder}: it was made from ${source.name} (${source.sha256}): run predict again`,
    )
  if (densities.length !== model.config.layers)
    throw new FormatError(
      `Cannot read ${path}: it has ${densities.length} densities, the model ${model.config.layers} layers`,
    )
  return { densities, scores }
}
