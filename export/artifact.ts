import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { LayerProfile } from '../src/mixture/profile.ts'
import { UnsupportedError } from '../src/errors.ts'
import { writeFileWhole } from '../src/formats/bytes.ts'
import { encodeModel } from '../src/formats/onnx/encode.ts'
import { fileInFolder } from '../src/formats/paths.ts'
import { keptCount } from '../src/mixture/bitmask.ts'
import type { ValueForm } from '../src/mixture/values.ts'
import { modelName } from '../src/model/name.ts'
import type { OpenedModel } from '../src/model/open.ts'
import type { BlockStats, Fallback } from '../src/pipeline/types.ts'
import { elementCount } from '../src/tensor/dtype.ts'
import type { BlockTensors } from './block-tensors.ts'
import { ffMatrices, openBlocks } from './block-tensors.ts'
import { fileMetadata, productMetadata, routerMetadata } from './annotations.ts'
import { dampingSummary } from './damping.ts'
import { fileEntries } from './file-entry.ts'
import type { StockBody } from './functions.ts'
import type { Manifest, OptionValue, Source } from './manifest.ts'
import { encodeManifest, FORMAT_VERSION, MANIFEST } from './manifest.ts'
import type { MetadataOf } from './metadata.ts'
import { metadataProps } from './metadata.ts'
import { decoderModel, FINAL_HIDDEN } from './onnx.ts'
import type { ShardPlan, TensorSource } from './shards.ts'
import { planShards, writeShards } from './shards.ts'

export type ArtifactOptions = {
  /** The dense model; everything but its FF matrices goes into the artifact as it is. */
  readonly model: OpenedModel
  /** Folder to write into; made when it is not there. */
  readonly out: string
  /** One .safetensors file per block: experts and routers, named as in the artifact. */
  readonly blockFiles: readonly string[]
  readonly stockBody: StockBody
  /** How the block files store kept weights. @default { type: 'f16' } */
  readonly values?: ValueForm
  /** Experts and sparsity by layer, when they were given so. */
  readonly profile?: readonly LayerProfile[]
  readonly toolVersion: string
  readonly source: Source
  /** The options that shaped the result, `method` among them. */
  readonly options: Readonly<Record<string, OptionValue>>
  readonly blocks: readonly BlockStats[]
  readonly fallbacks: readonly Fallback[]
  /** Largest weight file; one tensor is never cut. @default 4e9 */
  readonly shardBytes?: number
}

/** Files of the source that readers of a model folder look for, copied as they are. */
const COPIED = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
]

/**
 * Writes an artifact: weights, model.onnx over them, the source's config and tokenizer, and last the manifest, without
 * which a folder is no artifact. Tensors are copied in pieces. Equal inputs give equal bytes.
 * Throws IntegrityError when the block files do not fit the model, UnsupportedError when a matrix is too large for
 * the body, ResourceError when there is no space left.
 */
export async function writeArtifact(options: ArtifactOptions): Promise<Manifest> {
  const { model, out, stockBody, values = { type: 'f16' } } = options
  const blocks = openBlocks(model, options.blockFiles, values)
  try {
    assertDecodable(blocks.tensors, stockBody)
    const sparsity = sparsityOf(model, blocks)
    const mixture: Manifest['mixture'] = {
      layers: model.config.layers,
      experts: Math.max(...blocks.experts),
      ...(options.profile ? { profile: options.profile } : {}),
      router: routerKind(blocks),
      sparsity,
      values: values.type,
      ...('groupSize' in values ? { groupSize: values.groupSize } : {}),
      stockBody,
    }
    const metadata = fileMetadata({ ...options, ...mixture })
    const plan = planShards(
      [...denseTensors(model), ...blocks.tensors],
      { format: 'pt', ...metadata },
      shardBytesOf(options),
    )
    mkdirSync(out, { recursive: true })
    rmSync(join(out, MANIFEST), { force: true })
    const names = await writeShards(out, plan)
    writeFileWhole(join(out, 'model.onnx'), encodeModel(artifactGraph({ ...options, values }, blocks, plan, metadata)))
    const damping = dampingSummary(options.blocks)
    const manifest: Manifest = {
      formatVersion: FORMAT_VERSION,
      tool: { name: 'spexpand', version: options.toolVersion },
      source: { name: modelName(model.folder), ...options.source },
      options: options.options,
      mixture,
      blocks: options.blocks,
      ...(damping ? { damping } : {}),
      fallbacks: options.fallbacks,
      files: await fileEntries(out, [...names, 'model.onnx', ...copySourceFiles(model.folder, out)].sort()),
    }
    writeFileWhole(join(out, MANIFEST), encodeManifest(manifest))
    return manifest
  } finally {
    blocks.close()
  }
}

/**
 * Peak memory of loading a model with the fold body in stock onnxruntime, bytes: one folding pass keeps the intermediates
 * of every layer. Measured per decoded weight: 25 bytes with one expert, 33 with the split into experts, 9 more where
 * groups of inputs have scales.
 */
export function foldPeakBytes(weightsPerExpert: number, experts: number, groupSize = 0): number {
  return weightsPerExpert * experts * ((experts === 1 ? 25 : 33) + (groupSize > 0 ? 9 : 0))
}

/** Above this size of a node's output onnxruntime does not fold, and decodes every expert in every run without a word. */
const MAX_FOLDED_BYTES = 2 ** 30
/** Indices of the stream body are int32, one expert at a time; far above any matrix there is. */
const MAX_EXPERT_WEIGHTS = 2 ** 30

function assertDecodable(tensors: readonly TensorSource[], stockBody: StockBody): void {
  for (const { name, shape } of tensors) {
    if (!name.endsWith('.experts.mask')) continue
    const weights = elementCount(shape) * 8
    if (weights / shape[0]! >= MAX_EXPERT_WEIGHTS)
      throw new UnsupportedError(
        `Cannot export "${name}": one expert has ${weights / shape[0]!} weights, supported are fewer than ${MAX_EXPERT_WEIGHTS}`,
      )
    if (stockBody === 'fold' && weights * 4 > MAX_FOLDED_BYTES)
      throw new UnsupportedError(
        `Cannot write the fold body: "${name}" decodes to ${weights * 4} bytes, onnxruntime folds at most ` +
          `${MAX_FOLDED_BYTES}: use the stream body (--stock-body stream)`,
      )
  }
}

function shardBytesOf({ shardBytes }: ArtifactOptions): number {
  return shardBytes ?? 4e9
}

function routerKind({ experts, splitRouter }: BlockTensors): Manifest['mixture']['router'] {
  return experts.every((count) => count === 1) ? 'none' : splitRouter ? 'split' : 'shared'
}

/** All tensors of the source but the FF matrices, which the experts replace. */
function denseTensors(model: OpenedModel): TensorSource[] {
  const { weights } = model
  const replaced = new Set<string>()
  for (let layer = 0; layer < model.config.layers; layer++)
    for (const matrix of ffMatrices(model)) replaced.add(model.tensorName(matrix, layer))
  return [...weights.tensors.values()]
    .filter(({ name }) => !replaced.has(name))
    .map(({ name, dtype, shape }) => ({
      name,
      dtype,
      shape,
      read: (start, end) => weights.readBytes(name, start, end),
    }))
}

/** Zeros over all weights of all experts. */
function sparsityOf(model: OpenedModel, { experts, tensors }: BlockTensors): number {
  const { hidden, ff } = model.config
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const kept = tensors
    .filter(({ name }) => name.endsWith('.experts.mask'))
    .reduce((sum, mask) => sum + keptWeights(mask, byName.get(mask.name.replace(/mask$/, 'row_offsets'))!), 0)
  return 1 - kept / (ffMatrices(model).length * hidden * ff * experts.reduce((sum, count) => sum + count, 0))
}

/** Kept weights of a stack: those before its last row, and those in it. The size of `values` does not tell for int4. */
function keptWeights(mask: TensorSource, rowOffsets: TensorSource): number {
  const maskBytes = elementCount(mask.shape)
  const offsetBytes = elementCount(rowOffsets.shape) * 8
  const before = new DataView(rowOffsets.read(offsetBytes - 8, offsetBytes).slice().buffer).getBigInt64(0, true)
  return Number(before) + keptCount(mask.read(maskBytes - mask.shape[2]!, maskBytes))
}

function artifactGraph(
  { model, blocks: stats, stockBody, values, toolVersion }: ArtifactOptions & { readonly values: ValueForm },
  blocks: BlockTensors,
  plan: ShardPlan,
  metadata: MetadataOf<'files'>,
): ReturnType<typeof decoderModel> {
  const onModel: MetadataOf<'model'> = { 'spexpand.stock_body': stockBody, 'spexpand.final_hidden': FINAL_HIDDEN }
  return decoderModel({
    model,
    place: plan.place,
    toolVersion,
    metadata: metadataProps({ ...metadata, ...onModel }),
    mixture: {
      experts: blocks.experts,
      splitRouter: blocks.splitRouter,
      stockBody,
      values,
      metadata: (layer, node) =>
        node === 'router' || node === 'downRouter'
          ? metadataProps(routerMetadata(layer, node))
          : metadataProps(productMetadata(stats, layer, node)),
    },
  })
}

/** Copies what readers of a model folder look for; the names of those that were there. */
export function copySourceFiles(from: string, to: string): string[] {
  const present = COPIED.flatMap((name) => {
    const path = fileInFolder(from, name)
    return path === undefined ? [] : [{ name, path }]
  })
  for (const { name, path } of present) writeFileWhole(join(to, name), readFileSync(path))
  return present.map(({ name }) => name)
}
