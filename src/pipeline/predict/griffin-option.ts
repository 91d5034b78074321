import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { FormatError, IntegrityError, UnsupportedError, UsageError } from '../../errors.ts'
import type { SelectionMethod } from '../../predict/select.ts'
import { SELECTION_METHODS } from '../../predict/select.ts'
import type { Provider } from '../../runtime/session.ts'
import { GriffinDecoder } from './griffin-decoder.ts'
import type { FormName } from './griffin-forms.ts'
import { openForm } from './griffin-forms.ts'
import type { GriffinScores } from './griffin-sets.ts'
import { GRIFFIN_SCORES, rankerOf } from './griffin-sets.ts'
import type { GriffinSource } from './griffin-source.ts'
import { GRIFFIN_VERSION } from './types.ts'

/**
 * Every layer at one density, ranked by the paper's statistic; or what predict() wrote; or 'auto': what predict() wrote into
 * the artifact, a density of 0.5 without that.
 */
export type GriffinOption = { readonly density: number } | { readonly file: string } | 'auto'

/** What is said beside it, instead of what predict() wrote or the defaults: 'statistic', 'top-k' and seed 0. */
export type GriffinOverrides = {
  readonly scores?: GriffinScores
  readonly select?: SelectionMethod
  /** Seed of the methods that draw. */
  readonly seed?: number
}

/** Densities, ranking and method, and where they come from. */
export type GriffinChoice = {
  readonly densities: readonly number[]
  readonly scores: GriffinScores
  readonly select: SelectionMethod
  readonly seed: number
  /** 'density': one was given. 'default': nothing was, and the artifact says nothing. */
  readonly from: 'density' | 'file' | 'artifact' | 'default'
}

/** What a decoder needs of griffin.json, or of the section of that name in spexpand.json. */
const sectionSchema = z.object({
  formatVersion: z.int(),
  source: z.object({ name: z.string(), sha256: z.string() }),
  scores: z.enum(GRIFFIN_SCORES),
  select: z.enum(SELECTION_METHODS).optional(),
  seed: z.int().min(0).optional(),
  densities: z.array(z.number().positive().max(1)),
})

/**
 * Densities of a source. Throws UsageError for a density outside (0, 1], FormatError for a file that is not of predict(),
 * IntegrityError when it was made for another model.
 */
export function griffinChoice(
  option: GriffinOption,
  source: GriffinSource,
  overrides: GriffinOverrides = {},
): GriffinChoice {
  return { ...written(option, source), ...overrides }
}

/** What some options say about choosing neurons. */
export function overridesOf({ scores, select, seed }: GriffinOverrides): GriffinOverrides {
  return {
    ...(scores === undefined ? {} : { scores }),
    ...(select === undefined ? {} : { select }),
    ...(seed === undefined ? {} : { seed }),
  }
}

/** Throws UsageError for a ranking or a method without GRIFFIN. */
export function assertGriffin(option: GriffinOption | undefined, { scores, select }: GriffinOverrides): void {
  if (option === undefined && (scores !== undefined || select !== undefined))
    throw new UsageError('--scores and --select choose neurons for --griffin: give that too')
}

function written(option: GriffinOption, source: GriffinSource): GriffinChoice {
  if (option === 'auto') {
    const section = source.artifact?.manifest.griffin
    if (section === undefined) return alike(0.5, source, 'default')
    return { ...checked(section, `the griffin section of ${source.folder}`, source), from: 'artifact' }
  }
  if ('file' in option) return { ...readGriffin(option.file, source), from: 'file' }
  return alike(option.density, source, 'density')
}

export type GriffinSummary = {
  readonly neurons: readonly number[]
  readonly scores: GriffinScores
  readonly select: SelectionMethod
  readonly from: GriffinChoice['from']
  /** How later tokens are computed; 'masked' gains no time. */
  readonly form: FormName
  readonly selectMs: number
}

/** Opens a GRIFFIN decoder over `source`. Throws as griffinChoice() and the form that suits source and provider. */
export async function openGriffin(
  option: GriffinOption,
  source: GriffinSource,
  options: {
    readonly threads: number
    readonly provider: Provider
    readonly promptChunk?: number
    readonly overrides?: GriffinOverrides
  },
): Promise<{ decoder: GriffinDecoder; summary: () => GriffinSummary }> {
  const { promptChunk, provider, threads, overrides } = options
  const { densities, scores, select, seed, from } = griffinChoice(option, source, overrides)
  if (provider !== 'cpu' && provider !== 'spexpand')
    throw new UsageError(
      `--griffin: got provider ${provider}, wanted cpu or spexpand: weights are selected in main memory`,
    )
  if (promptChunk !== undefined && !(promptChunk >= 1))
    throw new UsageError(`--prompt-chunk: got ${promptChunk}, wanted at least 1`)
  const form = await openForm(source, { threads, provider, isCounted: scores === 'count' })
  const selection = { densities, rank: rankerOf(source, scores), method: select, seed }
  const decoder = new GriffinDecoder(source, {
    form,
    selection,
    ...(promptChunk === undefined ? {} : { promptChunk }),
  })
  const summary = (): GriffinSummary => ({
    neurons: decoder.sets.map((set) => set.length),
    scores,
    select,
    from,
    form: form.name,
    selectMs: decoder.selectMs,
  })
  return { decoder, summary }
}

function alike(density: number, { config }: GriffinSource, from: GriffinChoice['from']): GriffinChoice {
  if (!(density > 0 && density <= 1)) throw new UsageError(`--griffin: got ${density}, wanted above 0 and at most 1`)
  return { densities: Array.from({ length: config.layers }, () => density), ...DEFAULTS, from }
}

const DEFAULTS = { scores: 'statistic', select: 'top-k', seed: 0 } as const

type Section = Omit<GriffinChoice, 'from'>

/** Densities and ranking of griffin.json. Throws FormatError when it is none, IntegrityError for another model. */
export function readGriffin(path: string, source: GriffinSource): Section {
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new FormatError(`Cannot read ${path}: ${(cause as Error).message.replaceAll(/\s+/g, ' ')}`, { cause })
  }
  return checked(json, path, source)
}

function checked(json: unknown, path: string, { origin, folder, config }: GriffinSource): Section {
  const parsed = sectionSchema.safeParse(json)
  if (!parsed.success) {
    const { path: field, message } = parsed.error.issues[0]!
    throw new FormatError(`Cannot read ${path}: ${field.join('.') || 'the top level'}: ${message}`)
  }
  const { formatVersion, source, densities, scores, select = DEFAULTS.select, seed = DEFAULTS.seed } = parsed.data
  if (formatVersion > GRIFFIN_VERSION)
    throw new UnsupportedError(
      `Cannot read ${path}: formatVersion is ${formatVersion}, this version reads up to ${GRIFFIN_VERSION}: update spexpand`,
    )
  if (source.sha256 !== origin.sha256)
    throw new IntegrityError(
      `Cannot use ${path} with ${folder}: it was made from ${source.name} (${source.sha256}): run predict again`,
    )
  if (densities.length !== config.layers)
    throw new FormatError(
      `Cannot read ${path}: it has ${densities.length} densities, the model ${config.layers} layers`,
    )
  return { densities, scores, select, seed }
}
