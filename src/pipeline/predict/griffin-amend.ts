import type { Amendment } from '../../../export/amend.ts'
import type { MetadataOf } from '../../../export/metadata.ts'
import { metadataNumber } from '../../../export/metadata.ts'
import type { TensorSource } from '../../../export/shards.ts'
import type { Model } from '../../formats/onnx/types.ts'
import { keptNeurons } from '../../predict/griffin.ts'
import type { FfLayer } from '../../verify/ff-layers.ts'
import { ffLayers, productsOf } from '../../verify/ff-layers.ts'
import type { GriffinReport } from './types.ts'

/** What predict() adds to an artifact: a section, metadata in three places, the order of neurons as tensors, the page. */
export function griffinAmendment(
  report: GriffinReport,
  graph: Model,
  options: { readonly folder: string; readonly ff: number; readonly page: string; readonly pageName: string },
): Amendment {
  const { order, ...section } = report
  const layers = ffLayers(graph, options.folder)
  const onFiles: MetadataOf<'griffin'> = { 'spexpand.griffin': JSON.stringify(shortForm(report)) }
  const byNode = new Map(layers.flatMap((layer) => productsOf(layer)).map((one) => [one.node.name, one.layer]))
  return {
    sections: { griffin: section },
    model: onFiles,
    weights: onFiles,
    nodes: ({ name }) => {
      const layer = byNode.get(name)
      return layer === undefined ? {} : onProduct(report.densities[layer]!, options.ff)
    },
    tensors: layers.map((layer) => orderTensor(layer, order[layer.layer]!)),
    files: { [options.pageName]: options.page },
  }
}

/** What a runtime needs, and what it should tell before it does it. */
function shortForm(report: GriffinReport): unknown {
  const { formatVersion, statistic, scores, select, seed, densities, reference, quality, dense, copy, text } = report
  return {
    formatVersion,
    statistic,
    scores,
    select,
    seed,
    densities,
    reference,
    text,
    all: { perplexity: dense.perplexity, kl: dense.kl },
    quality: quality.map(({ scores: by, select: how, density, quality: { perplexity, kl, topOneAgreement } }) => ({
      scores: by,
      select: how,
      density,
      perplexity,
      kl,
      topOneAgreement,
    })),
    copy,
    flocking: report.flockingCurve,
  }
}

function onProduct(density: number, ff: number): MetadataOf<'griffinProduct'> {
  return {
    'spexpand.griffin.density': metadataNumber(density),
    'spexpand.griffin.neurons': String(keptNeurons(ff, density)),
  }
}

/** `….mlp.griffin.order` I32 (ff): neurons, the most useful first. */
function orderTensor({ up }: FfLayer, order: readonly number[]): TensorSource {
  const bytes = new Uint8Array(Int32Array.from(order).buffer)
  return {
    name: up.base.replace(/[^.]+\.experts$/, 'griffin.order'),
    dtype: 'I32',
    shape: [order.length],
    read: (start, end) => bytes.subarray(start, end),
  }
}
