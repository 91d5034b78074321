import { join } from 'node:path'
import { FormatError, UnsupportedError, UsageError } from '../../errors.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { openWeights } from '../../formats/safetensors/weights.ts'
import type { ModelConfig } from '../../model/config.ts'
import { readFamilyConfig } from '../../model/config.ts'
import type { Family, TensorRole } from '../../model/families.ts'
import { readJsonObject } from '../../model/json.ts'
import { openArtifact } from '../../verify/artifact.ts'
import type { ArtifactManifest } from '../../verify/manifest.ts'
import { stackShape } from '../../verify/stack.ts'
import { blockObstacles } from './moe-obstacles.ts'

/** A format whose layers are those of Mixtral: llama's, with a router without bias in front of whole experts. */
export type MoeTarget = {
  /** As on the command line. */
  readonly name: 'mixtral' | 'gguf'
  /** What besides llama's blocks with another FF layer cannot be said in it; words for the message. */
  readonly obstacles: (config: ModelConfig) => readonly string[]
}

/** An artifact that can be written so. */
export type MoeSource = {
  readonly folder: string
  readonly manifest: ArtifactManifest
  /** config.json of the model. */
  readonly json: Readonly<Record<string, unknown>>
  readonly config: ModelConfig
  readonly family: Family
  readonly store: TensorStore
  /** Experts of every layer; one has no router. */
  readonly experts: number
  /** Name of a tensor without '.weight'. */
  readonly nameOf: (role: TensorRole, layer?: number) => string
}

const MAX_CONFIG_BYTES = 10_000_000

/**
 * Opens an artifact whose layers `target` can express. Throws UsageError for routers that another compression would leave
 * out, UnsupportedError naming what of the model's family has no place there, IntegrityError for a damaged artifact.
 */
export function openMoeSource(folder: string, target: MoeTarget): MoeSource {
  const { manifest } = openArtifact(folder)
  const refuse = (what: string): string => `Cannot export ${folder} as ${target.name}: ${what}`
  const { config, family } = readFamilyConfig(folder)
  const obstacles = [...blockObstacles(config, family), ...target.obstacles(config)]
  if (obstacles.length > 0)
    throw new UnsupportedError(
      refuse(`model type ${config.modelType} has ${obstacles.join(', ')}, which ${target.name} cannot express`),
    )
  if (manifest.mixture.router === 'split')
    throw new UsageError(
      refuse('its down projections have a router of their own: compress with --router shared --no-router-bias'),
    )
  const store = openWeights(folder)
  try {
    const nameOf = (role: TensorRole, layer?: number): string =>
      family.tensors[role]!.replace('{i}', String(layer ?? ''))
    const experts = sameExperts(store, config, nameOf, refuse)
    if (experts > 1) assertNoBias(store, config, nameOf, refuse)
    const json = readJsonObject(join(folder, 'config.json'), MAX_CONFIG_BYTES)
    return { folder, manifest, json, config, family, store, experts, nameOf }
  } catch (error) {
    store.close()
    throw error
  }
}

/** The number of experts that all layers have. */
function sameExperts(
  store: TensorStore,
  { layers }: ModelConfig,
  nameOf: MoeSource['nameOf'],
  refuse: (what: string) => string,
): number {
  const counts = Array.from({ length: layers }, (_, layer) => {
    const base = `${nameOf('gate', layer)}.experts`
    if (!store.tensors.has(`${base}.mask`))
      throw new UsageError(refuse(`layer ${layer} has no pruned FF matrices: it is a dense model, export that`))
    return stackShape(store, base).experts
  })
  const other = counts.findIndex((count) => count !== counts[0])
  if (other >= 0)
    throw new UnsupportedError(
      refuse(
        `layer 0 has ${counts[0]} experts and layer ${other} has ${counts[other]}, it wants as many in every layer: ` +
          'compress with --experts instead of --experts-profile',
      ),
    )
  return counts[0]!
}

/** A bias that all experts share changes nothing: the expert is the largest score. */
function assertNoBias(
  store: TensorStore,
  { layers }: ModelConfig,
  nameOf: MoeSource['nameOf'],
  refuse: (what: string) => string,
): void {
  for (let layer = 0; layer < layers; layer++) {
    const bias = store.readF32(`${routerName(nameOf, layer)}.bias`)
    if (bias.some((b) => b !== bias[0]))
      throw new UsageError(
        refuse('its routers add a bias to the scores, which has no place there: compress with --no-router-bias'),
      )
  }
}

/** '….mlp.router': it stands beside the first FF matrix. */
export function routerName(nameOf: MoeSource['nameOf'], layer: number): string {
  return nameOf('gate', layer).replace(/\.[^.]+$/, '.router')
}

/** The head, or the embedding where that is the head. Throws FormatError when there is neither. */
export function headName({ config, store, nameOf }: MoeSource): string {
  const head = `${nameOf('head')}.weight`
  if (store.tensors.has(head)) return head
  if (config.tied) return `${nameOf('embedding')}.weight`
  throw new FormatError(`Cannot export: the artifact has no "${head}"`)
}
