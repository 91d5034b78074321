import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelConfig } from '../model/config.ts'
import type { OpenedModel } from '../model/open.ts'
import type { ValueForm, ValueType } from '../mixture/values.ts'
import { scaleGroups } from '../prune/grid.ts'
import { DTYPE_BYTES } from '../tensor/dtype.ts'
import type { MatrixName } from './jobs.ts'
import { matricesOf } from './jobs.ts'
import type { MemoryPlan } from './memory.ts'
import type { Resolved } from './options.ts'
import { layerOptions } from './profile.ts'
import type { CompressResult } from './types.ts'

/** Bytes a run reads, writes and holds; everything follows from shapes, nothing is measured. */
export type Sizes = {
  readonly ff: Pick<CompressResult, 'ffBytesDense' | 'ffBytesStored' | 'ffBytesPerTokenDense' | 'ffBytesPerToken'>
  readonly parameters: number
  readonly ffParameters: number
  readonly artifactBytes: number
  /** Finished blocks lie beside the spooled rows first, and beside the artifact while it is written. */
  readonly diskBytes: number
}

const VALUE_BITS: Readonly<Record<ValueType, number>> = { f16: 16, bf16: 16, int8: 8, int4: 4 }

/** The sizes of compressing `model`: kept weights under a bitmask (docs/formats.md). */
export function compressionSizes(model: OpenedModel, options: Resolved, memory: MemoryPlan): Sizes {
  const { hidden, ff, layers } = model.config
  const tensors = [...model.weights.tensors.values()]
  const parameters = tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((n, dim) => n * dim, 1), 0)
  const total = tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0)
  const ffParameters = matricesOf(model.config).length * hidden * ff * layers
  const dense = model.tensor('up', 0).dtype
  const ffBytesDense = ffParameters * (DTYPE_BYTES as Record<string, number>)[dense]!
  const byLayer = Array.from({ length: layers }, (_, layer) => layerBytes(model.config, options, layer))
  const sum = (of: (layer: LayerBytes) => number): number => byLayer.reduce((total, layer) => total + of(layer), 0)
  const perExpert = sum((layer) => layer.perExpert)
  const ffBytesStored = sum((layer) => layer.perExpert * layer.experts)
  const routers = sum((layer) => layer.routers)
  const artifactBytes = total - ffBytesDense + ffBytesStored + routers + otherBytes(model)
  const blocks = ffBytesStored + routers
  const ffBytesPerToken = perExpert + routers
  return {
    ff: { ffBytesDense, ffBytesStored, ffBytesPerTokenDense: ffBytesDense, ffBytesPerToken },
    parameters,
    ffParameters,
    artifactBytes,
    diskBytes: blocks + Math.max(artifactBytes, spoolBytes(model, options, memory)),
  }
}

type LayerBytes = { readonly experts: number; readonly perExpert: number; readonly routers: number }

/** Bytes of one expert of a layer, and of its routers. */
function layerBytes(config: ModelConfig, options: Resolved, layer: number): LayerBytes {
  const { hidden, ff } = config
  const { experts, pattern } = layerOptions(options, layer)
  const keep = 1 - (pattern.kind === 'unstructured' ? pattern.sparsity : pattern.n / pattern.m)
  return {
    experts,
    perExpert: matricesOf(config).reduce(
      (sum, matrix) => sum + expertBytes(matrix, hidden, ff, keep, options.values),
      0,
    ),
    routers: experts > 1 ? 4 * experts * (hidden + 1 + (options.router === 'split' ? ff + 1 : 0)) : 0,
  }
}

/** Bitmask, values, scales and row offsets of one expert of one matrix. */
function expertBytes(matrix: MatrixName, hidden: number, ff: number, keep: number, form: ValueForm): number {
  const [outputs, inputs] = matrix === 'down_proj' ? [hidden, ff] : [ff, hidden]
  const values = Math.round(outputs * inputs * keep * VALUE_BITS[form.type]) / 8
  const scales = 'groupSize' in form ? 2 * outputs * scaleGroups(form, inputs) : 0
  return outputs * Math.ceil(inputs / 8) + Math.ceil(values) + scales + outputs * 8
}

/** Experts of the layer that has most of them, packed. */
export function packedBlockBytes(model: OpenedModel, options: Resolved): number {
  const layers = Array.from({ length: model.config.layers }, (_, layer) => layerBytes(model.config, options, layer))
  return Math.max(...layers.map(({ perExpert, experts }) => perExpert * experts))
}

/** Hidden states and FF inputs of all tokens, where they are on disk. */
function spoolBytes(model: OpenedModel, options: Resolved, { spooled }: MemoryPlan): number {
  const { hidden, ff } = model.config
  return spooled ? options.tokens * 4 * (2 * hidden + (options.router === 'split' ? ff : 0)) : 0
}

/** Files of the source that an artifact has besides its weights. */
function otherBytes({ folder }: OpenedModel): number {
  const names = readdirSync(folder).filter((name) => /\.(json|jinja)$/.test(name) && !name.endsWith('.index.json'))
  return names.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
}
