import type { HirePredictor } from '../../predict/predictor.ts'
import { predictHire } from './hire.ts'
import type { HireDensity, HireOptions, HireSection } from './hire-types.ts'

/** Shares of the neurons that are computed; half of them is the k that recall is told of. */
const DENSITIES = [0.05, 0.1, 0.25, 0.5, 0.75]

/** Quality of a dense model with the same share of neurons computed in every layer, by the predictor most layers have. */
export async function densityTable(folder: string, hire: HireSection, options: HireOptions): Promise<HireDensity[]> {
  const predictor = commonPredictor(hire)
  const { calibration, tokens, text, windows = 32, sequenceLength, threads, signal } = options
  const rows = await predictHire({
    model: folder,
    predictors: [predictor],
    shares: DENSITIES.map((density) => density / 2),
    over: [1, 2],
    quality: true,
    windows,
    ...(calibration ? { calibration } : {}),
    ...(tokens === undefined ? {} : { tokens }),
    ...(text ? { text } : {}),
    ...(sequenceLength === undefined ? {} : { sequenceLength }),
    ...(threads === undefined ? {} : { threads }),
    ...(signal ? { signal } : {}),
  })
  return rows.map(({ recall, quality }, i) => ({
    density: DENSITIES[i]!,
    predictor,
    quality: quality!,
    recall: recall[1]!,
  }))
}

/** The predictor that most layers have, the first of equals. */
function commonPredictor({ layers }: HireSection): HirePredictor {
  const counts = new Map<string, { predictor: HirePredictor; count: number }>()
  for (const { predictor } of layers) {
    const key = JSON.stringify(predictor)
    counts.set(key, { predictor, count: (counts.get(key)?.count ?? 0) + 1 })
  }
  return [...counts.values()].reduce((most, one) => (one.count > most.count ? one : most)).predictor
}
