import type { BlockStats, MatrixStats } from '../src/pipeline/types.ts'
import type { FfMatrix } from './feed-forward.ts'
import type { Manifest, OptionValue, Source } from './manifest.ts'
import { FORMAT_VERSION } from './manifest.ts'
import type { MetadataOf } from './metadata.ts'
import { metadataNumber } from './metadata.ts'

type FileFacts = {
  readonly toolVersion: string
  readonly options: Readonly<Record<string, OptionValue>>
  readonly source: Source
} & Pick<Manifest['mixture'], 'experts' | 'router' | 'sparsity' | 'values' | 'groupSize'>

/** What the ONNX model and the safetensors files say about the whole artifact. */
export function fileMetadata(facts: FileFacts): MetadataOf<'files'> {
  return {
    'spexpand.format_version': String(FORMAT_VERSION),
    'spexpand.tool_version': facts.toolVersion,
    'spexpand.method': String(facts.options['method'] ?? 'sparse-expansion'),
    'spexpand.experts': String(facts.experts),
    'spexpand.router': facts.router,
    'spexpand.sparsity': metadataNumber(facts.sparsity),
    'spexpand.values': facts.values,
    'spexpand.group_size': String(facts.groupSize ?? 0),
    'spexpand.source_sha256': facts.source.sha256,
  }
}

/** What a router's ArgMax node says. */
export function routerMetadata(layer: number, node: 'router' | 'downRouter'): MetadataOf<'router'> {
  return { 'spexpand.layer': String(layer), 'spexpand.router_of': node === 'router' ? 'mlp' : 'down_proj' }
}

/** What the product node of a matrix says. Throws RangeError when there are no statistics of it. */
export function productMetadata(blocks: readonly BlockStats[], layer: number, node: FfMatrix): MetadataOf<'product'> {
  const matrix: MatrixStats['matrix'] = `${node}_proj`
  const stats = blocks[layer]?.matrices.find((candidate) => candidate.matrix === matrix)
  if (!stats) throw new RangeError(`Cannot export: there are no statistics of ${matrix} in block ${layer}`)
  return {
    'spexpand.layer': String(layer),
    'spexpand.matrix': matrix,
    'spexpand.experts': String(stats.experts.length),
    'spexpand.sparsity': metadataNumber(stats.sparsity),
    'spexpand.error': metadataNumber(stats.error),
    'spexpand.baseline_error': metadataNumber(stats.baselineError),
  }
}
