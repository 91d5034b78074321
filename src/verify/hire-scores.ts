import type { TensorStore } from '../formats/safetensors/reader.ts'
import type { ModelConfig } from '../model/config.ts'
import { activate } from '../tensor/activate.ts'

/** How a matrix is predicted, as the `hire` section of spexpand.json says. */
export type Predictor =
  | { readonly kind: 'lr'; readonly rank: number }
  | { readonly kind: 'q'; readonly bits: 8 | 4; readonly groupSize: number }

/** Matrices that a row goes through one after the other: (outputs, inputs), row-major. */
export type Chain = readonly { readonly W: Float32Array; readonly inputs: number }[]

/** The predictor of a matrix of `inputs` inputs, decoded from its tensors `${base}.…` (docs/formats.md). */
export function readPredictor(store: TensorStore, base: string, predictor: Predictor, inputs: number): Chain {
  if (predictor.kind === 'lr')
    return [
      { W: store.readF32(`${base}.V`), inputs },
      { W: store.readF32(`${base}.U`), inputs: predictor.rank },
    ]
  const { bits, groupSize } = predictor
  const numbers = store.readBytes(`${base}.numbers`)
  const scales = store.readF32(`${base}.scales`)
  const groups = Math.ceil(inputs / groupSize)
  const rowBytes = (groups * groupSize * bits) / 8
  const W = new Float32Array((numbers.length / rowBytes) * inputs)
  for (let i = 0, at = 0; at < W.length; i++)
    for (let j = 0; j < inputs; j++, at++) {
      const byte = numbers[i * rowBytes + Math.floor((j * bits) / 8)]!
      const number = bits === 8 ? byte - 128 : ((j % 2 === 0 ? byte : byte >> 4) & 15) - 8
      W[at] = number * scales[i * groups + Math.floor(j / groupSize)]!
    }
  return [{ W, inputs }]
}

/** A row through a chain. */
export function predictRow(chain: Chain, x: Float32Array): Float32Array {
  let row = x
  for (const { W, inputs } of chain) {
    const out = new Float32Array(W.length / inputs)
    for (let i = 0; i < out.length; i++) {
      let sum = 0
      for (let j = 0, at = i * inputs; j < inputs; j++) sum += W[at + j]! * row[j]!
      out[i] = sum
    }
    row = out
  }
  return row
}

/** What predicts an FF layer: without a gate its first matrix alone. */
export type FfPredictor = {
  readonly gate?: Chain
  readonly up: Chain
  readonly gateBias?: Float32Array
  readonly upBias?: Float32Array
  /** Added to the scores, where neurons are always selected. */
  readonly bonus?: Float32Array
  /** Adjacent neurons that are selected together. */
  readonly group: number
}

/** Scores of the groups of a layer for one FF input: |act(gate) · up|, or |act(up)|, by group the sum of squares. */
export function ffScores(
  { gate, up, gateBias, upBias, bonus, group }: FfPredictor,
  { activation }: Pick<ModelConfig, 'activation'>,
  x: Float32Array,
): Float32Array {
  const u = predictRow(up, x)
  const g = gate && predictRow(gate, x)
  const scores = u.map((value, j) => {
    const raised = value + (upBias?.[j] ?? 0)
    const z = g ? activate(activation, g[j]! + (gateBias?.[j] ?? 0)) * raised : activate(activation, raised)
    return Math.abs(z) + (bonus?.[j] ?? 0)
  })
  if (group === 1) return scores
  return Float32Array.from({ length: scores.length / group }, (_, i) => {
    let sum = 0
    for (let j = i * group; j < (i + 1) * group; j++) sum += scores[j]! ** 2
    return sum
  })
}

/** The k largest, lowest index first on ties. */
export function largest(scores: Float32Array, k: number): Set<number> {
  const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b)
  return new Set(order.slice(0, k))
}
