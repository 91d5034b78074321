import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { copySourceFiles } from '../../../export/artifact.ts'
import type { TensorSource } from '../../../export/shards.ts'
import { planShards, writeShards } from '../../../export/shards.ts'
import { FormatError, UsageError } from '../../errors.ts'
import { writeFileWhole } from '../../formats/bytes.ts'
import { withString } from '../../formats/json-edit.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { openWeights } from '../../formats/safetensors/weights.ts'
import type { ModelConfig } from '../../model/config.ts'
import { readFamilyConfig } from '../../model/config.ts'
import type { Family, TensorRole } from '../../model/families.ts'
import { DTYPE_BYTES, elementCount } from '../../tensor/dtype.ts'
import { openArtifact } from '../../verify/artifact.ts'
import type { WeightType } from './ff-weights.ts'
import { denseWeight } from './ff-weights.ts'

export type HfDenseOptions = {
  /** Folder of an artifact with one expert per layer. */
  readonly artifact: string
  /** Folder to write; made when it is not there, and empty when it is. */
  readonly out: string
  /** Element type of the FF weights. @default 'exact' */
  readonly weights?: WeightType
  /** Largest weight file, bytes. @default 4e9 */
  readonly shardBytes?: number
}

export type HfDenseResult = {
  readonly out: string
  readonly files: readonly string[]
  /** Bytes of all tensors, and share of zeros among the FF weights. */
  readonly bytes: number
  readonly sparsity: number
  /** Element type of the FF weights that was written, and what config.json asks loaders to compute in. */
  readonly weights: string
  readonly computeType: string
}

/**
 * Writes an artifact of one expert as an ordinary Hugging Face model folder: the pruned FF weights are dense matrices with
 * zeros, everything else is copied. Other runtimes read it as any model of its family; the zeros save them nothing.
 * Throws UsageError for an artifact with several experts or an `out` that is not empty, IntegrityError for a damaged one.
 */
export async function exportHfDense(options: HfDenseOptions): Promise<HfDenseResult> {
  const { artifact: folder, out, weights: type = 'exact', shardBytes = 4e9 } = options
  const { manifest } = openArtifact(folder)
  if (manifest.mixture.router !== 'none')
    throw new UsageError(
      `Cannot export ${folder} as hf-dense: it has ${manifest.mixture.experts} experts per layer, a dense model has one: ` +
        'compress with --experts 1 (plain SparseGPT), or ship the artifact as it is',
    )
  if (existsSync(out) && readdirSync(out).length > 0)
    throw new UsageError(`Cannot export to ${out}: it exists and is not empty: choose another --out`)
  const { config, family } = readFamilyConfig(folder)
  const store = openWeights(folder)
  try {
    const tensors = fused(tensorsOf(store, config, family, type), family, config)
    const plan = planShards(tensors, { format: 'pt' }, shardBytes)
    mkdirSync(out, { recursive: true })
    const written = await writeShards(out, plan)
    const copied = copySourceFiles(folder, out)
    const ffType = ffTypeOf(tensors, store)
    const computeType = writeConfig(folder, out, type === 'exact' ? 'F32' : ffType)
    return {
      out,
      files: [...written, ...copied].sort(),
      bytes: plan.totalBytes,
      sparsity: manifest.mixture.sparsity,
      weights: ffType,
      computeType,
    }
  } finally {
    store.close()
  }
}

/** All tensors but what only a mixture needs, the FF stacks as dense weights. */
function tensorsOf(store: TensorStore, config: ModelConfig, family: Family, type: WeightType): TensorSource[] {
  const isOurs = /\.experts\.(mask|values|scales|row_offsets)$|\.hire\./
  return [...store.tensors.values()].flatMap(({ name, dtype, shape }): TensorSource[] => {
    if (name.endsWith('.experts.mask')) {
      const base = name.slice(0, -'.mask'.length)
      const inputs = isDown(base, family) ? config.ff : config.hidden
      return [denseWeight(store, base, { inputs, transposed: family.transposed, type })]
    }
    if (isOurs.test(name)) return []
    return [{ name, dtype, shape, read: (start, end) => store.readBytes(name, start, end) }]
  })
}

/** Whether a stack is of a down projection; some files leave out the prefix that all names of the family have. */
function isDown(base: string, { tensors, prefix = '' }: Family): boolean {
  const [before, after] = tensors.down!.split('{i}') as [string, string]
  const start = base.startsWith(prefix) ? before : before.slice(prefix.length)
  return (
    base.startsWith(start) &&
    /^\d+$/.test(base.slice(start.length, -`${after}.experts`.length)) &&
    base.endsWith(`${after}.experts`)
  )
}

/** Matrices that the family stores as one are put together again: their rows lie one below the other. */
function fused(tensors: readonly TensorSource[], family: Family, { layers }: ModelConfig): TensorSource[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  for (let layer = 0; layer < layers; layer++)
    for (const { from, into } of family.slices) {
      const nameOf = (role: TensorRole): string => `${family.tensors[role]!.replace('{i}', String(layer))}.weight`
      const parts = into.map((role) => byName.get(nameOf(role)))
      if (parts.some((part) => part === undefined))
        throw new FormatError(`Cannot export as hf-dense: the artifact has no "${into.map(nameOf).join('", "')}"`)
      for (const role of into) byName.delete(nameOf(role))
      const name = `${from.replace('{i}', String(layer))}.weight`
      byName.set(name, joined(name, parts as TensorSource[]))
    }
  return [...byName.values()]
}

function joined(name: string, parts: readonly TensorSource[]): TensorSource {
  const sizes = parts.map(({ dtype, shape }) => elementCount(shape) * DTYPE_BYTES[dtype])
  const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0)
  return {
    name,
    dtype: parts[0]!.dtype,
    shape: [rows, ...parts[0]!.shape.slice(1)],
    read(start, end) {
      const out = new Uint8Array(end - start)
      let begin = 0
      parts.forEach((part, i) => {
        const [from, to] = [Math.max(start, begin), Math.min(end, begin + sizes[i]!)]
        if (from < to) out.set(part.read(from - begin, to - begin), from - start)
        begin += sizes[i]!
      })
      return out
    },
  }
}

/** The element type in which the FF weights were written. */
function ffTypeOf(tensors: readonly TensorSource[], store: TensorStore): string {
  return tensors.find(({ name }) => !store.tensors.has(name))!.dtype
}

const TORCH_TYPES: Readonly<Record<string, string>> = { F16: 'float16', BF16: 'bfloat16', F32: 'float32' }

/**
 * config.json with the type that loaders compute in. Exact weights ask for float32: a loader that follows the source's
 * bfloat16 would round the f16 weights once more.
 */
function writeConfig(from: string, out: string, dtype: string): string {
  const text = readFileSync(join(from, 'config.json'), 'utf8')
  const key = 'dtype' in (JSON.parse(text) as object) ? 'dtype' : 'torch_dtype'
  const computeType = TORCH_TYPES[dtype]!
  // The text is edited: transformers 5 refuses whole numbers where it wants others, and JSON.stringify() makes 6 of 6.0.
  writeFileWhole(join(out, 'config.json'), withString(text, key, computeType))
  return computeType
}
