import { chanceJaccard, jaccard, meanPairJaccard } from '../../predict/flocking.ts'
import type { GriffinStatistic } from '../../predict/griffin.ts'
import { keptNeurons } from '../../predict/griffin.ts'
import { selectNeurons } from '../../predict/select.ts'
import { topKDescending } from '../../predict/top-k.ts'
import type { WindowStatistics } from './griffin-sets.ts'
import type { Flocking, FlockingHeat } from './types.ts'
import type { FfChunk } from './walk.ts'

/** Sets that are compared pair by pair; the pairs grow with the square. */
const FLOCKING_WINDOWS = 32
/** Tokens on both sides of the end of the prompt and neurons of a heat map. */
const HEAT_TOKENS = 96
const HEAT_NEURONS = 64

/** How much selected sets have in common, layer by layer, at one density. */
export function flockingOf(statistics: WindowStatistics, density: number): Flocking[] {
  return statistics.prompt.map((sequences, layer) => {
    const ff = sequences[0]!.squares.length
    const k = keptNeurons(ff, density)
    const setsOf = (all: readonly GriffinStatistic[]): Int32Array[] =>
      all.slice(0, FLOCKING_WINDOWS).map((one) => selectNeurons(one.scores(), k))
    const prompts = setsOf(sequences)
    const after = setsOf(statistics.continuation[layer]!)
    const own = prompts.map((set, i) => jaccard(set, after[i]!))
    return {
      layer,
      density,
      betweenPrompts: meanPairJaccard(prompts),
      promptToContinuation: own.reduce((a, b) => a + b) / own.length,
      chance: chanceJaccard(k, ff),
    }
  })
}

/** Draws the first window of the first, the middle and the last layer: what share of a token's ‖z‖² a neuron has. */
export function heatCollector(layers: number, T: number, promptTokens: number): HeatCollector {
  const wanted = new Set([0, Math.floor(layers / 2), layers - 1])
  const maps: FlockingHeat[] = []
  const first = Math.max(0, Math.min(promptTokens - HEAT_TOKENS / 2, T - HEAT_TOKENS))
  const tokens = Math.min(HEAT_TOKENS, T)
  const onFf = ({ layer, firstWindow, windows, z }: FfChunk): void => {
    if (firstWindow !== 0 || !wanted.has(layer)) return
    const ff = z.length / (windows * T)
    const share = (token: number): Float32Array => {
      const row = z.subarray(token * ff, (token + 1) * ff)
      const square = row.reduce((sum, v) => sum + v * v, 0)
      return row.map((v) => (square > 0 ? (v * v) / square : 0))
    }
    const total = new Float64Array(ff)
    for (let t = 0; t < promptTokens; t++) for (const [j, v] of share(t).entries()) total[j] += v
    const neurons = [...topKDescending(total, Math.min(HEAT_NEURONS, ff))]
    const rows = Array.from({ length: tokens }, (_, t) => {
      const shares = share(first + t)
      return neurons.map((j) => Math.sqrt(shares[j]!))
    })
    maps.push({ layer, firstToken: first, promptTokens, neurons, rows })
  }
  return { onFf, maps }
}
export type HeatCollector = { readonly onFf: (chunk: FfChunk) => void; readonly maps: readonly FlockingHeat[] }
