import path from 'node:path'
import { FormatError } from '../../errors.ts'
import { closeFile, openForReading, readRange } from '../bytes.ts'
import { parseStrictJson } from '../json.ts'
import type { JsonValue } from '../json.ts'
import { fileInFolder, isInsideFolder } from '../paths.ts'
import { findTensor, openSafetensors } from './reader.ts'
import type { ForeignTensor, TensorFile, TensorInfo, TensorStore } from './reader.ts'

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/** An index of a 10,000-shard model is a few MB; more than this is no index. */
const MAX_INDEX_BYTES = 100_000_000

/**
 * Opens the weights of a model folder: model.safetensors, else the shards that model.safetensors.index.json names. Other
 * .safetensors files in the folder are not looked at, and of each shard only the tensors that the index gives to it.
 * Reads headers only.
 * Throws FormatError when there are no weights, a shard is missing or lies outside the folder, or a shard lacks a tensor.
 */
export function openWeights(folder: string): TensorStore {
  const single = fileInFolder(folder, SINGLE)
  if (single !== undefined) return openSafetensors(single)
  const indexPath = fileInFolder(folder, INDEX)
  if (indexPath === undefined)
    throw new FormatError(
      `Cannot open the weights of ${folder}: got neither ${SINGLE} nor ${INDEX}: ` +
        'save the model in safetensors form (save_pretrained does)',
    )
  const weightMap = readWeightMap(indexPath)
  const shards = new Map<string, TensorFile>()
  try {
    for (const shard of [...new Set(weightMap.values())].sort()) shards.set(shard, openShard(folder, shard, indexPath))
    return shardedStore(folder, weightMap, shards)
  } catch (error) {
    for (const shard of shards.values()) shard.close()
    throw error
  }
}

/** Tensor name → shard path inside the folder. */
function readWeightMap(indexPath: string): Map<string, string> {
  const weightMap = readIndex(indexPath).get('weight_map')
  if (!(weightMap instanceof Map))
    throw new FormatError(
      `Cannot read ${indexPath}: weight_map is ${weightMap === undefined ? 'missing' : 'no object'}, ` +
        'expected an object of tensor name → file name',
    )
  const checked = new Map<string, string>()
  for (const [name, shard] of weightMap) {
    const field = `weight_map[${JSON.stringify(name)}]`
    if (typeof shard !== 'string')
      throw new FormatError(`Cannot read ${indexPath}: ${field} is ${typeof shard}, expected a file name`)
    if (!isInsideFolder(shard))
      throw new FormatError(
        `Cannot read ${indexPath}: ${field} is ${JSON.stringify(shard)}, expected a file inside the model's folder`,
      )
    checked.set(name, shard)
  }
  return checked
}

function readIndex(indexPath: string): Map<string, JsonValue> {
  const file = openForReading(indexPath)
  try {
    if (file.byteLength > MAX_INDEX_BYTES)
      throw new FormatError(`Cannot read ${indexPath}: it has ${file.byteLength} bytes, at most ${MAX_INDEX_BYTES}`)
    const bytes = readRange(file, 0, file.byteLength)
    const root = parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    if (!(root instanceof Map)) throw new SyntaxError('the top level is no object')
    return root
  } catch (cause) {
    if (cause instanceof FormatError) throw cause
    throw new FormatError(`Cannot read ${indexPath}: it is not JSON: ${(cause as Error).message}`, { cause })
  } finally {
    closeFile(file)
  }
}

function openShard(folder: string, shard: string, indexPath: string): TensorFile {
  const file = fileInFolder(folder, shard)
  if (file === undefined)
    throw new FormatError(
      `Cannot open shard ${path.join(folder, shard)}: ${indexPath} names it, but it is missing: download it again`,
    )
  return openSafetensors(file)
}

function shardedStore(
  folder: string,
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, TensorFile>,
): TensorStore {
  const tensors = new Map<string, TensorInfo>()
  const foreign = new Map<string, ForeignTensor>()
  for (const [name, shard] of weightMap) {
    const file = shards.get(shard)!
    const info = file.tensors.get(name)
    const other = file.foreign.get(name)
    if (info) tensors.set(name, info)
    else if (other) foreign.set(name, other)
    else
      throw new FormatError(
        `Cannot open the weights of ${folder}: ${INDEX} puts tensor "${name}" in ${shard}, which does not have it`,
      )
  }
  const get = (name: string): TensorInfo => findTensor(name, tensors, foreign, folder)
  const shardOf = (name: string): TensorFile => shards.get(weightMap.get(get(name).name)!)!
  return {
    tensors,
    foreign,
    metadata: mergedMetadata(shards),
    get,
    readBytes: (name, start, end) => shardOf(name).readBytes(name, start, end),
    readF32: (name) => shardOf(name).readF32(name),
    close() {
      for (const shard of shards.values()) shard.close()
    },
  }
}

/** Every key of any shard; where shards differ, the first in the order of their names. */
function mergedMetadata(shards: ReadonlyMap<string, TensorFile>): Map<string, string> {
  const metadata = new Map<string, string>()
  for (const shard of shards.values())
    for (const [key, value] of shard.metadata) if (!metadata.has(key)) metadata.set(key, value)
  return metadata
}
