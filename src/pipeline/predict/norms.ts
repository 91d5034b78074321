import type { ModelConfig } from '../../model/config.ts'
import type { OpenedModel } from '../../model/open.ts'
import { columnNorms, rowNorms } from '../../predict/scores.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { decodeExpert } from '../../verify/decode.ts'
import type { FfLayer } from '../../verify/ff-layers.ts'

/** How large the weights of every neuron are: rows of gate (1 without a gate) and up, columns of down; (ff). */
export type NeuronNorms = {
  readonly config: Pick<ModelConfig, 'layers' | 'ff'>
  readonly norms: (matrix: 'gate' | 'up' | 'down', layer: number) => Float64Array
}

/** L2 norms of a dense model's neurons. */
export function denseNorms(model: OpenedModel): NeuronNorms {
  const { config } = model
  const norms: NeuronNorms['norms'] = (matrix, layer) => {
    if (!model.has(matrix)) return new Float64Array(config.ff).fill(1)
    const W = model.matrix(matrix, layer)
    return matrix === 'down' ? columnNorms(W, config.ff) : rowNorms(W, config.ff)
  }
  return { config, norms }
}

/** L2 norms over all experts of an artifact: every expert's neuron j is a pruned copy of the same dense neuron. */
export function expertNorms(config: ModelConfig, store: TensorStore, layers: readonly FfLayer[]): NeuronNorms {
  const norms: NeuronNorms['norms'] = (matrix, layer) => {
    const product = layers[layer]![matrix]
    if (!product) return new Float64Array(config.ff).fill(1)
    const { base, inputs, experts } = product
    const squares = new Float64Array(config.ff)
    for (let expert = 0; expert < experts; expert++) {
      const W = decodeExpert(store, base, expert, inputs)
      const one = matrix === 'down' ? columnNorms(W, config.ff) : rowNorms(W, config.ff)
      for (let j = 0; j < squares.length; j++) squares[j] += one[j]! ** 2
    }
    return squares.map((square) => Math.sqrt(square))
  }
  return { config, norms }
}
