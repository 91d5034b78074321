import { basename, resolve } from 'node:path'
import { predictorName } from '../../predict/predictor.ts'
import type { HirePageData } from '../../report/hire-page.ts'
import { TOOL_VERSION } from '../../version.ts'
import type { HireSpeed } from './hire-speed.ts'
import type { HireCandidate, HireResult } from './hire-types.ts'

/** Name of the page beside hire.onnx. */
export const HIRE_PAGE = 'hire.html'

/** What the page shows of a result. */
export function hirePageData(result: HireResult, speed?: HireSpeed): HirePageData {
  const { hire, candidates, quality, tables, shards } = result
  const chosen = [
    ...hire.layers.map((one) => ({ ...one, where: String(one.layer) })),
    ...(hire.softmax ? [{ ...hire.softmax, where: 'softmax' }] : []),
  ]
  return {
    name: basename(resolve(result.model)),
    toolVersion: TOOL_VERSION,
    calibrationTokens: hire.text.calibrationTokens,
    choosingTokens: hire.text.choosingTokens,
    curves: [...curvesOf(candidates, 'ff'), ...curvesOf(candidates, 'softmax')],
    chosen: chosen.map((one) => ({ ...one, predictor: predictorName(one.predictor) })),
    ...(quality ? { quality } : {}),
    ...(tables ? { densities: tables } : {}),
    ...(speed ? { speed } : {}),
    ...(shards ? { shards, shardsOf: hire.softmax!.k } : {}),
  }
}

/** Recall of each predictor at each k' of its table, mean over layers: all layers have the same k. */
function curvesOf(candidates: readonly HireCandidate[], of: 'ff' | 'softmax'): HirePageData['curves'] {
  const sums = new Map<string, { predictor: string; kPrime: number; recall: number; layers: number }>()
  for (const { where, predictor, recall } of candidates) {
    if ((where === 'softmax') !== (of === 'softmax')) continue
    for (const point of recall) {
      const name = predictorName(predictor)
      const key = `${name} ${point.kPrime}`
      const sum = sums.get(key) ?? { predictor: name, kPrime: point.kPrime, recall: 0, layers: 0 }
      sums.set(key, { ...sum, recall: sum.recall + point.recall, layers: sum.layers + 1 })
    }
  }
  return [...sums.values()].map(({ predictor, kPrime, recall, layers }) => ({
    of,
    predictor,
    kPrime,
    recall: recall / layers,
  }))
}
