import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { copySourceFiles } from '../../../export/artifact.ts'
import type { TensorSource } from '../../../export/shards.ts'
import { planShards, writeShards } from '../../../export/shards.ts'
import { UsageError } from '../../errors.ts'
import { writeFileWhole } from '../../formats/bytes.ts'
import { LLAMA } from '../../model/families/llama.ts'
import type { TensorRole } from '../../model/families.ts'
import type { WeightType } from './ff-weights.ts'
import { denseWeight } from './ff-weights.ts'
import { mixtralConfig } from './mixtral-config.ts'
import type { MoeSource } from './moe-source.ts'
import { headName, openMoeSource, routerName } from './moe-source.ts'

export type MixtralOptions = {
  /** Folder of an artifact with a shared router without bias. */
  readonly artifact: string
  /** Folder to write; made when it is not there, and empty when it is. */
  readonly out: string
  /** Element type of the experts' weights. @default 'exact' */
  readonly weights?: WeightType
  /** Largest weight file, bytes. @default 4e9 */
  readonly shardBytes?: number
}

export type MixtralResult = {
  readonly out: string
  readonly files: readonly string[]
  /** Bytes of all tensors; experts are dense matrices. */
  readonly bytes: number
  readonly experts: number
  /** Share of zeros among the FF weights. */
  readonly sparsity: number
  /** Element type of the experts that was written, and what config.json asks loaders to compute in. */
  readonly weights: string
  readonly computeType: string
}

/** Roles with the same place in every block of Mixtral as in one of llama. */
const BLOCK_ROLES: readonly TensorRole[] = ['attentionNorm', 'query', 'key', 'value', 'attentionOut', 'ffnNorm']
/** What Mixtral calls the matrices of an expert. */
const EXPERT_ROLES = [
  ['gate', 'w1'],
  ['up', 'w3'],
  ['down', 'w2'],
] as const
const TORCH_TYPES: Readonly<Record<string, string>> = { F16: 'float16', BF16: 'bfloat16', F32: 'float32' }

/**
 * Writes an artifact as a Mixtral folder with one expert per token: the routing weight is a softmax over that one, 1, so
 * that logits are the artifact's. Tensors have the names of transformers 4, which version 5 reads too.
 * Throws UsageError for an artifact of one expert, for routers with a bias and for an `out` that is not empty,
 * UnsupportedError naming what Mixtral cannot express.
 */
export async function exportMixtral(options: MixtralOptions): Promise<MixtralResult> {
  const { artifact: folder, out, weights: type = 'exact', shardBytes = 4e9 } = options
  const source = openMoeSource(folder, { name: 'mixtral', obstacles: () => [] })
  const { store, experts, manifest } = source
  try {
    if (experts === 1)
      throw new UsageError(`Cannot export ${folder} as mixtral: it has one expert: export it --to hf-dense`)
    if (existsSync(out) && readdirSync(out).length > 0)
      throw new UsageError(`Cannot export to ${out}: it exists and is not empty: choose another --out`)
    const tensors = tensorsOf(source, type)
    const plan = planShards(tensors, { format: 'pt' }, shardBytes)
    mkdirSync(out, { recursive: true })
    const written = await writeShards(out, plan)
    const copied = copySourceFiles(folder, out)
    const { dtype } = tensors.find(({ name }) => name.endsWith('.w1.weight'))!
    const computeType = TORCH_TYPES[type === 'exact' ? 'F32' : dtype]!
    const config = mixtralConfig(source, computeType)
    writeFileWhole(join(out, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`)
    return {
      out,
      files: [...written, ...copied].sort(),
      bytes: plan.totalBytes,
      experts,
      sparsity: manifest.mixture.sparsity,
      weights: dtype,
      computeType,
    }
  } finally {
    store.close()
  }
}

function tensorsOf(source: MoeSource, type: WeightType): TensorSource[] {
  const { store, config, nameOf } = source
  const copy = (from: string, name: string): TensorSource => {
    const { dtype, shape } = store.get(from)
    return { name, dtype, shape, read: (start, end) => store.readBytes(from, start, end) }
  }
  const same = (role: TensorRole, layer?: number): TensorSource => {
    const name = LLAMA.tensors[role]!.replace('{i}', String(layer ?? ''))
    return copy(`${nameOf(role, layer)}.weight`, `${name}.weight`)
  }
  const layers = Array.from({ length: config.layers }, (_, layer) => [
    ...BLOCK_ROLES.map((role) => same(role, layer)),
    copy(`${routerName(nameOf, layer)}.weight`, `model.layers.${layer}.block_sparse_moe.gate.weight`),
    ...expertsOf(source, layer, type),
  ])
  return [same('embedding'), ...layers.flat(), same('finalNorm'), copy(headName(source), 'lm_head.weight')]
}

function expertsOf({ store, config, nameOf, experts }: MoeSource, layer: number, type: WeightType): TensorSource[] {
  return Array.from({ length: experts }, (_, expert) =>
    EXPERT_ROLES.map(([role, short]) =>
      denseWeight(store, `${nameOf(role, layer)}.experts`, {
        name: `model.layers.${layer}.block_sparse_moe.experts.${expert}.${short}.weight`,
        expert,
        inputs: role === 'down' ? config.ff : config.hidden,
        transposed: false,
        type,
      }),
    ),
  ).flat()
}
