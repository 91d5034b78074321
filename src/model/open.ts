import fs from 'node:fs'
import path from 'node:path'
import { FormatError, UnsupportedError } from '../errors.ts'
import type { TensorInfo, TensorStore } from '../formats/safetensors/reader.ts'
import { openWeights } from '../formats/safetensors/weights.ts'
import type { ModelConfig } from './config.ts'
import { readFamilyConfig } from './config.ts'
import type { Family, TensorRole } from './families.ts'
import { sliced } from './slices.ts'

/** A model folder, its config and weights checked against each other; weights are read when asked for. */
export type OpenedModel = {
  readonly folder: string
  /**
   * Where the weight files really lie: the folder, or the one its links point into (the hub's cache is made of links).
   * onnxruntime maps external data from there.
   */
  readonly dataFolder: string
  readonly config: ModelConfig
  readonly family: Family
  readonly weights: TensorStore
  /** Full name of a tensor ('model.layers.3.mlp.gate_proj.weight'); `layer` for roles that every layer has. */
  tensorName(role: TensorRole, layer?: number, part?: 'weight' | 'bias'): string
  /** Where a tensor lies, e.g. for mapping it as external data. Its shape is that of shapeOf(role), or isTransposed. */
  tensor(role: TensorRole, layer?: number, part?: 'weight' | 'bias'): TensorInfo
  /** Whether the model has such a tensor at all. */
  has(role: TensorRole): boolean
  /** Whether a matrix is stored (in, out). */
  isTransposed(role: TensorRole): boolean
  /** A matrix as float32 (out, in), however it is stored. */
  matrix(role: TensorRole, layer: number): Float32Array<ArrayBuffer>
  close(): void
}

/** Element types that the graphs can read. */
const WEIGHT_DTYPES: readonly string[] = ['F32', 'F16', 'BF16']

/** Roles that belong to a layer, in the order of use; the others appear once. */
const LAYER_ROLES = [
  ...(['attentionNorm', 'qkv', 'query', 'key', 'value', 'queryNorm', 'keyNorm', 'attentionOut'] as const),
  ...(['attentionPostNorm', 'ffnNorm', 'gate', 'up', 'down', 'ffnPostNorm'] as const),
]
const MODEL_ROLES = ['embedding', 'positions', 'finalNorm', 'head'] as const
/** Tables of rows to be looked up, and the head, are stored alike in every family. */
const NEVER_TRANSPOSED: readonly TensorRole[] = ['embedding', 'positions', 'head']

/**
 * Opens a folder in Hugging Face layout and checks that every tensor the config asks for is there, with the right shape
 * and a float type. Reads headers only.
 * Throws FormatError naming file, tensor, got and wanted; UnsupportedError for families and types not known here.
 */
export function openModel(folder: string): OpenedModel {
  if (!fs.existsSync(folder)) throw new FormatError(`Cannot open model ${folder}: no such folder`)
  if (!fs.statSync(folder).isDirectory())
    throw new FormatError(`Cannot open model ${folder}: it is a file, expected a folder with config.json and weights`)
  const { config, family } = readFamilyConfig(folder)
  const weights = openWeights(folder)
  try {
    return modelOf(folder, config, family, weights)
  } catch (error) {
    weights.close()
    throw error
  }
}

/** Shape of a weight, as the config asks for it; matrices are (out, in). Norms of queries and keys: see qkNorm. */
export function shapeOf(role: TensorRole, config: ModelConfig, family?: Family): readonly number[] {
  const { hidden, ff, vocab, heads, kvHeads, headDim } = config
  const normed = (count: number): number[] => [family?.qkNorm === 'all' ? count * headDim : headDim]
  switch (role) {
    case 'embedding':
    case 'head':
      return [vocab, hidden]
    case 'positions':
      return [config.maxPositions + (family?.positionOffset ?? 0), hidden]
    case 'attentionNorm':
    case 'attentionPostNorm':
    case 'ffnNorm':
    case 'ffnPostNorm':
    case 'finalNorm':
      return [hidden]
    case 'qkv':
      return [(heads + 2 * kvHeads) * headDim, hidden]
    case 'query':
      return [heads * headDim, hidden]
    case 'key':
    case 'value':
      return [kvHeads * headDim, hidden]
    case 'queryNorm':
      return normed(heads)
    case 'keyNorm':
      return normed(kvHeads)
    case 'attentionOut':
      return [hidden, heads * headDim]
    case 'gate':
    case 'up':
      return [ff, hidden]
    case 'down':
      return [hidden, ff]
  }
}

/** Throws FormatError naming tensor and index (row-major, from 0) of the first number that is NaN or infinite. */
export function assertFinite(numbers: Float32Array, name: string): void {
  for (let i = 0; i < numbers.length; i++) {
    const v = numbers[i]!
    if (v - v !== 0)
      throw new FormatError(`Cannot use tensor "${name}": element ${i} is ${v}, expected finite numbers only`)
  }
}

function modelOf(folder: string, config: ModelConfig, family: Family, stored: TensorStore): OpenedModel {
  const weights = sliced(stored, family, config)
  const prefix = droppedPrefix(family, weights)
  const has = (role: TensorRole): boolean => family.tensors[role] !== undefined
  const tensorName = (role: TensorRole, layer?: number, part = 'weight'): string => {
    const template = family.tensors[role === 'head' && config.tied ? 'embedding' : role]
    if (template === undefined) throw new RangeError(`Cannot name the tensor of ${role}: ${family.modelType} has none`)
    if (template.includes('{i}') !== (layer !== undefined))
      throw new RangeError(`Cannot name the tensor of ${role}: it ${layer === undefined ? 'needs a' : 'has no'} layer`)
    return `${template.slice(prefix.length).replace('{i}', String(layer))}.${part}`
  }
  const model: OpenedModel = {
    folder,
    dataFolder: '',
    config,
    family,
    weights,
    has,
    isTransposed: (role) => family.transposed && !NEVER_TRANSPOSED.includes(role),
    tensorName,
    tensor: (role, layer, part) => weights.get(tensorName(role, layer, part)),
    matrix(role, layer) {
      const W = weights.readF32(tensorName(role, layer))
      return model.isTransposed(role) ? transposed(W, shapeOf(role, config, family)) : W
    },
    close: () => weights.close(),
  }
  const files = new Set(checkTensors(model).map((info) => info.file))
  return { ...model, dataFolder: realFolderOf([...files], folder) }
}

/** What stands in front of every name of the family but not in these files. */
function droppedPrefix({ prefix = '', tensors }: Family, weights: TensorStore): string {
  const name = `${tensors.embedding!}.weight`
  return !weights.tensors.has(name) && weights.tensors.has(name.slice(prefix.length)) ? prefix : ''
}

/** W (in, out) as (out, in). */
function transposed(W: Float32Array, [rows, cols]: readonly number[]): Float32Array<ArrayBuffer> {
  const out = new Float32Array(W.length)
  for (let j = 0; j < cols!; j++) for (let i = 0; i < rows!; i++) out[i * cols! + j] = W[j * rows! + i]!
  return out
}

/** Every tensor of the model, checked. */
function checkTensors(model: OpenedModel): TensorInfo[] {
  const { config } = model
  const tensors: TensorInfo[] = []
  const check = (role: TensorRole, layer?: number): void => {
    if (!model.has(role)) return
    tensors.push(checked(model, role, layer))
    if (config.biases.includes(role)) tensors.push(checked(model, role, layer, 'bias'))
  }
  for (const role of MODEL_ROLES) check(role)
  for (let layer = 0; layer < config.layers; layer++) for (const role of LAYER_ROLES) check(role, layer)
  return tensors
}

function checked(model: OpenedModel, role: TensorRole, layer?: number, part?: 'bias'): TensorInfo {
  const info = model.tensor(role, layer, part)
  const shape = shapeOf(role, model.config, model.family)
  const wanted = part === 'bias' ? shape.slice(0, 1) : model.isTransposed(role) ? shape.toReversed() : shape
  if (info.shape.join() !== wanted.join())
    throw new FormatError(
      `Cannot use tensor "${info.name}" of ${info.file}: its shape is [${info.shape.join(', ')}], ` +
        `config.json asks for [${wanted.join(', ')}]`,
    )
  if (!WEIGHT_DTYPES.includes(info.dtype))
    throw new UnsupportedError(
      `Cannot use tensor "${info.name}" of ${info.file}: its dtype is ${info.dtype}, supported are ${WEIGHT_DTYPES.join(', ')}`,
    )
  return info
}

function realFolderOf(files: readonly string[], folder: string): string {
  const folders = new Set(files.map((file) => path.dirname(fs.realpathSync(file))))
  if (folders.size > 1)
    throw new UnsupportedError(
      `Cannot map the weights of ${folder}: its files are links into ${folders.size} folders, expected one: ` +
        'copy the model into one folder',
    )
  return [...folders][0]!
}
