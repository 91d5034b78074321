import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileWhole } from '../src/formats/bytes.ts'
import { encodeModel } from '../src/formats/onnx/encode.ts'
import type { Model, StringEntry } from '../src/formats/onnx/types.ts'
import { planSafetensors } from '../src/formats/safetensors/plan.ts'
import { modelName } from '../src/model/name.ts'
import type { OpenedModel } from '../src/model/open.ts'
import type { HireLayer, HireSoftmax } from '../src/predict/predictor.ts'
import type { RawTensor } from '../src/tensor/dtype.ts'
import { fileMetadata } from './annotations.ts'
import { copySourceFiles } from './artifact.ts'
import { fileEntries } from './file-entry.ts'
import type { FfNames, HireGraphOptions } from './hire-graph.ts'
import { withHire } from './hire-graph.ts'
import type { HireKeep } from './hire-pieces.ts'
import type { Manifest, OptionValue, Source } from './manifest.ts'
import { encodeManifest, FORMAT_VERSION, MANIFEST } from './manifest.ts'
import type { MetadataOf } from './metadata.ts'
import { metadataNumber, metadataProps } from './metadata.ts'
import { decoderModel, FINAL_HIDDEN } from './onnx.ts'
import type { ShardPlan, TensorSource } from './shards.ts'
import { planShards, writeShards } from './shards.ts'
import { placedAt } from './shards.ts'
import type { PlaceOf } from './weights.ts'

export const HIRE_GRAPH = 'hire.onnx'
export const HIRE_WEIGHTS = 'hire.safetensors'

/** The `hire` section as far as the files depend on it; it is written into them whole. */
type Section = {
  readonly layers: readonly HireLayer[]
  readonly softmax?: HireSoftmax
  readonly keep: HireKeep
}

/**
 * The two files of HiRE beside the `model.onnx` whose graph is `decoder`: a second graph over the same weights, and the
 * tensors of the predictors.
 */
export function hireFiles(
  decoder: Model,
  tensors: Readonly<Record<string, RawTensor>>,
  section: Section,
  ff: Pick<HireGraphOptions, 'names' | 'activation'>,
): { readonly [HIRE_GRAPH]: Uint8Array; readonly [HIRE_WEIGHTS]: Uint8Array } {
  const onFiles: MetadataOf<'hire'> = { 'spexpand.hire': JSON.stringify(section) }
  const weights = safetensorsBytes(tensors, { format: 'pt', ...onFiles })
  const graph = withHire(decoder, {
    place: weights.place,
    layers: section.layers,
    ...(section.softmax ? { softmax: section.softmax } : {}),
    keep: section.keep,
    ...ff,
    metadata: (where) => selectionMetadata(where === 'softmax' ? section.softmax! : where),
  })
  const old = Object.fromEntries(graph.metadataProps.map(({ key, value }) => [key, value]))
  return {
    [HIRE_GRAPH]: encodeModel({ ...graph, metadataProps: metadataProps({ ...old, ...onFiles }) }),
    [HIRE_WEIGHTS]: weights.bytes,
  }
}

export type DenseArtifactOptions = {
  readonly model: OpenedModel
  readonly out: string
  /** All tensors of the model, permuted where neurons are. */
  readonly tensors: readonly TensorSource[]
  readonly hireTensors: Readonly<Record<string, RawTensor>>
  readonly section: Section
  readonly toolVersion: string
  readonly source: Source
  readonly options: Readonly<Record<string, OptionValue>>
  /** Largest weight file. @default 4e9 */
  readonly shardBytes?: number
}

/** A dense model and its HiRE as an artifact: nothing is pruned, `method` is 'dense'. The manifest is written last. */
export async function writeDenseArtifact(options: DenseArtifactOptions): Promise<Manifest> {
  const { model, out, section, toolVersion, source } = options
  const mixture: Manifest['mixture'] = {
    layers: model.config.layers,
    experts: 1,
    router: 'none',
    sparsity: 0,
    values: 'f16',
    stockBody: 'stream',
  }
  const said = { ...options.options, method: 'dense' }
  const onFiles = fileMetadata({ toolVersion, source, options: said, ...mixture })
  const plan = planShards(options.tensors, { format: 'pt', ...onFiles }, options.shardBytes ?? 4e9)
  mkdirSync(out, { recursive: true })
  rmSync(join(out, MANIFEST), { force: true })
  const weights = await writeShards(out, plan)
  const decoder = denseGraph(model, plan, metadataProps(onFiles), toolVersion)
  const names = (layer: number): FfNames => ffTensorNames(model, layer)
  const { activation } = model.config
  const files = {
    'model.onnx': encodeModel(decoder),
    ...hireFiles(decoder, options.hireTensors, section, { names, activation }),
  }
  for (const [name, bytes] of Object.entries(files)) writeFileWhole(join(out, name), bytes)
  const listed = [...weights, ...Object.keys(files), ...copySourceFiles(model.folder, out)].sort()
  const manifest: Manifest & { readonly hire: Section } = {
    formatVersion: FORMAT_VERSION,
    tool: { name: 'spexpand', version: toolVersion },
    source: { name: modelName(model.folder), ...source },
    options: said,
    mixture,
    blocks: [],
    fallbacks: [],
    hire: section,
    files: await fileEntries(out, listed),
  }
  writeFileWhole(join(out, MANIFEST), encodeManifest(manifest))
  return manifest
}

/** Names of the FF matrices of a layer as they are stored. */
export function ffTensorNames(model: OpenedModel, layer: number): FfNames {
  return {
    ...(model.has('gate') ? { gate: model.tensorName('gate', layer) } : {}),
    up: model.tensorName('up', layer),
    down: model.tensorName('down', layer),
  }
}

function denseGraph(model: OpenedModel, { place }: ShardPlan, metadata: StringEntry[], toolVersion: string): Model {
  const all = [...metadata, { key: 'spexpand.final_hidden', value: FINAL_HIDDEN }]
  return decoderModel({ model, place, metadata: all, toolVersion })
}

function selectionMetadata(form: HireLayer | HireSoftmax): StringEntry[] {
  const layer = 'layer' in form ? { 'spexpand.layer': String(form.layer) } : {}
  const common: Omit<MetadataOf<'selection'>, 'spexpand.layer'> = {
    'spexpand.hire.of': 'layer' in form ? 'mlp' : 'lm_head',
    'spexpand.hire.k': String(form.k),
    'spexpand.hire.k_prime': String(form.kPrime),
    'spexpand.hire.recall': metadataNumber(form.recall),
  }
  return metadataProps({ ...common, ...layer })
}

/** A whole safetensors file in memory, and where its tensors lie. */
function safetensorsBytes(
  tensors: Readonly<Record<string, RawTensor>>,
  metadata: Readonly<Record<string, string>>,
): { readonly bytes: Uint8Array; readonly place: PlaceOf } {
  const entries = Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
  const plan = planSafetensors(entries, metadata)
  const bytes = new Uint8Array(plan.byteLength)
  bytes.set(plan.head, 0)
  for (const { name, offset } of plan.tensors.values()) bytes.set(tensors[name]!.bytes, offset)
  return { bytes, place: (name) => placedAt(plan.tensors.get(name)!, HIRE_WEIGHTS) }
}
