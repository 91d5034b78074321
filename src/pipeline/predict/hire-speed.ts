import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { HireGraphOptions } from '../../../export/hire-graph.ts'
import { withHire } from '../../../export/hire-graph.ts'
import { ffTensorNames } from '../../../export/hire.ts'
import { openSafetensors } from '../../formats/safetensors/reader.ts'
import { openModel } from '../../model/open.ts'
import type { HireLayer } from '../../predict/predictor.ts'
import { nativeStatus } from '../../runtime/native.ts'
import { readGraph } from '../../verify/artifact.ts'
import { isProduct } from '../../verify/ff-layers.ts'
import { hireParts } from '../../verify/hire-parts.ts'
import type { HireSides, HireTimes } from '../../verify/speed-hire.ts'
import { timeHire } from '../../verify/speed-hire.ts'
import { openHire } from './hire-option.ts'
import type { HireSection } from './hire-types.ts'

/** Decoding one token with every product exact and with HiRE, in turns. */
export type HireSpeed = {
  readonly threads: number
  readonly rounds: number
  /** Why there are no figures of the native operators. */
  readonly nativeMissing?: string
  /** With the k' that were chosen, as written. */
  readonly chosen: HireTimes
  /** With the same share of neurons in every layer, the softmax as it was chosen; empty without FF predictors. */
  readonly rows: readonly { readonly density: number; readonly ff: HireSides; readonly model: HireSides }[]
}

const DENSITIES = [0.05, 0.1, 0.25, 0.5, 0.75]
const ROUNDS = 21

/**
 * Times the HiRE of a folder against the same without: FF layers alone, the softmax alone, the whole model. The predictors at
 * a density are those of the folder, with another k' in place of the chosen ones.
 */
export async function hireSpeed(
  folder: string,
  hire: HireSection,
  threads: number = availableParallelism(),
): Promise<HireSpeed> {
  const status = nativeStatus()
  const isNative = status.found && status.operatorsPath !== undefined
  const plain = readGraph(folder)
  const chosen = openHire(folder).graph
  const parts = hireParts(plain, chosen, join(folder, hire.graph))
  const isSparse = plain.graph.node.some((node) => isProduct(node))
  const common = { plain, parts, folder, threads, rounds: ROUNDS, isNative, isSparse, now: () => performance.now() }
  const times = await timeHire({ ...common, hire: chosen })
  const rows: HireSpeed['rows'][number][] = []
  const atDensity = hire.layers.length > 0 ? graphsOf(folder, hire) : undefined
  try {
    for (const density of atDensity ? DENSITIES : []) {
      const graph = withHire(plain, atDensity!.options(density))
      const { ff, model } = await timeHire({ ...common, hire: graph, only: ['ff'] })
      rows.push({ density, ff: ff!, model })
    }
  } finally {
    atDensity?.close()
  }
  const missing = isNative ? {} : { nativeMissing: 'the native operators are not built: npm run build:native' }
  return { threads, rounds: ROUNDS, ...missing, chosen: times, rows }
}

/** What a graph with the predictors of a folder and another k' is made of. */
function graphsOf(
  folder: string,
  hire: HireSection,
): { options: (density: number) => HireGraphOptions; close(): void } {
  const model = openModel(folder)
  const store = openSafetensors(join(folder, hire.weights))
  const place: HireGraphOptions['place'] = (name) => {
    const { dtype, shape, offset, byteLength } = store.get(name)
    return { dtype, shape, external: { location: hire.weights, offset, length: byteLength } }
  }
  const layerAt = (form: HireLayer, density: number): HireLayer => {
    const whole = Math.floor((density * model.config.ff) / form.group) * form.group
    return { ...form, k: 1, kPrime: Math.max(form.group, whole, form.always) }
  }
  const softmax = hire.softmax ? { softmax: hire.softmax } : {}
  const names: HireGraphOptions['names'] = (layer) => ffTensorNames(model, layer)
  return {
    options: (density) => ({
      place,
      layers: hire.layers.map((form) => layerAt(form, density)),
      ...softmax,
      names,
      activation: model.config.activation,
      metadata: () => [],
    }),
    close() {
      store.close()
      model.close()
    },
  }
}
