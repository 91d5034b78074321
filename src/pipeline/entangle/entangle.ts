import { availableParallelism } from 'node:os'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { EntangleReport, MatrixReport } from '../../entangle/types.ts'
import { UsageError } from '../../errors.ts'
import { openModel } from '../../model/open.ts'
import { isArtifact, openArtifact } from '../../verify/artifact.ts'
import { runAttention } from '../block.ts'
import { entangleArtifact } from './artifact.ts'
import { beginExperiments, checkExperiments } from './experiments.ts'
import { measureLayer } from './layer.ts'
import type { EntangleOptions } from './options.ts'
import { headOf, matrixReports, productsOf, settingsOf } from './parts.ts'
import { beginRun } from './run.ts'

/**
 * Measures how entangled every FF neuron of a model is (arXiv 2405.15756): WD, MD and moments of its outputs over the
 * tokens of some text, layer by layer; one layer's outputs exist at a time. On an artifact also what expansion did.
 * Throws UsageError for options that cannot be meant, IntegrityError when a dense model is not the artifact's, and what
 * opening the model throws.
 */
export async function entangle(options: EntangleOptions): Promise<EntangleReport> {
  const folder = options.model ?? demoModelFolder()
  if (isArtifact(folder)) {
    if ((options.experiments ?? []).length > 0)
      throw new UsageError(`--experiment wants a dense model: ${folder} is an artifact: give its source model`)
    return entangleArtifact(options, openArtifact(folder))
  }
  if (options.dense !== undefined || options.baseline !== undefined)
    throw new UsageError(`--dense and --baseline belong to an artifact: ${folder} is a dense model`)
  const settings = settingsOf(options)
  const model = openModel(folder)
  try {
    const { layers } = model.config
    checkExperiments(options, layers)
    const begun = await beginRun(model, options, settings, 1)
    const { run, windows, close } = begun
    try {
      const threads = options.threads ?? availableParallelism()
      const experiments = await beginExperiments(begun, model, { ...options, top: settings.top, threads })
      const matrices: MatrixReport[] = []
      let wdBound = 0
      const notes: string[] = []
      for (let layer = 0; layer < layers; layer++) {
        options.onProgress?.({ stage: 'calibrate', done: layer, total: layers, block: layer, blocks: layers })
        await runAttention(run, layer)
        const columns = await measureLayer(run, layer)
        wdBound = columns.bound.reduce((max, bound) => Math.max(max, bound), wdBound)
        if (columns.recounted) notes.push(recountNote(layer))
        const reports = matrixReports(model, layer, columns, settings.top)
        await experiments.layer(layer, reports)
        matrices.push(...reports)
      }
      const found = await experiments.finish()
      return {
        ...(await headOf(model, folder, settings, windows)),
        products: productsOf(options),
        kind: 'model',
        matrices,
        ...(found ? { experiments: found } : {}),
        wdBound,
        notes,
      }
    } finally {
      await close()
    }
  } finally {
    model.close()
  }
}

function recountNote(layer: number): string {
  return `layer ${layer}: outputs were counted twice, because a sample misjudged how far they spread`
}
