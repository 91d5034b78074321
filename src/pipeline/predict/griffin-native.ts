import { FormatError, UnsupportedError } from '../../errors.ts'
import type { Model, Node, TensorProto } from '../../formats/onnx/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import { DTYPE_BYTES } from '../../tensor/dtype.ts'
import { extract } from '../../verify/submodel.ts'
import { isNativeForm } from '../ffn.ts'
import { MAX_INLINE_BYTES } from './griffin-graph.ts'

/** Our operator (docs/formats.md). The graph has no function for it: only a runtime that has the kernel loads it. */
const NEURON_SUBSET_FFN = 'NeuronSubsetFFN'

/** Input of the graph: the neurons of a layer that count, int64 (k). */
export const setName = (layer: number): string => `griffin.set.${layer}`

/** What a layer of a dense decoder graph reads and gives: (tokens, hidden) both. */
export type DenseFfValues = { readonly x: string; readonly y: string }

/**
 * A dense decoder graph whose FF layers are one NeuronSubsetFFN each, over the neurons given with every run. Rows of gate and
 * up are read where the model stores them; down has to be turned to one row per neuron and lies inside the graph. Throws
 * UnsupportedError when it does not fit there or the layer is no gated one with SiLU.
 */
export function neuronGraph(decoder: Model, model: OpenedModel): Model {
  const missing = nativeMissing(model)
  if (missing !== undefined)
    throw new UnsupportedError(`Cannot select neurons of ${model.folder}: ${missing}: use --provider cpu`)
  const values = denseFfValues(decoder, model)
  const made = new Map(values.map(({ y }, layer) => [y, layer]))
  const node = decoder.graph.node.map((one): Node => {
    const layer = made.get(one.output[0]!)
    return layer === undefined ? one : neuronNode(model, layer, values[layer]!)
  })
  const { graph } = decoder
  const down = values.map((_, layer) => downRows(model, layer))
  const bytes = down.reduce((sum, { rawData }) => sum + rawData!.byteLength, 0)
  if (bytes > MAX_INLINE_BYTES)
    throw new UnsupportedError(
      `Cannot select neurons: the down matrices take ${bytes} bytes, at most ${MAX_INLINE_BYTES} fit into a graph: use cpu`,
    )
  const sets = values.map((_, layer) => ({ name: setName(layer), type: 'int64' as const, shape: ['kept'] }))
  const whole: Model = {
    ...decoder,
    opsetImport: [
      ...decoder.opsetImport.filter(({ domain }) => domain !== 'spexpand'),
      { domain: 'spexpand', version: 1 },
    ],
    graph: {
      ...graph,
      node,
      initializer: [...graph.initializer, ...down],
      input: [...graph.input, ...sets],
      valueInfo: [],
    },
  }
  // Products and casts that nobody asks any more are left out, and their weights with them.
  return { ...extract(whole, whole.graph.input, graph.output), metadataProps: decoder.metadataProps }
}

/** Why the native operator cannot compute the FF layers of a model; undefined where it can. */
export function nativeMissing({ config }: Pick<OpenedModel, 'config'>): string | undefined {
  if (isNativeForm(config)) return undefined
  return `${NEURON_SUBSET_FFN} computes silu(gate x) · up x without biases, model type ${config.modelType} has other FF layers`
}

/** Input of gate (of up, without a gate) and output of down of every layer. Throws FormatError where they are not found. */
export function denseFfValues({ graph }: Model, model: OpenedModel): DenseFfValues[] {
  const product = (weight: string): Node => {
    const cast = graph.node.find(({ opType, input }) => opType === 'Cast' && input[0] === weight)
    const operand = cast?.output[0] ?? weight
    const found = graph.node.find(({ opType, input }) => opType === 'Gemm' && input[1] === operand)
    if (!found) throw new FormatError(`Cannot select neurons: no product of the decoder graph uses "${weight}"`)
    return found
  }
  return Array.from({ length: model.config.layers }, (_, layer) => ({
    x: product(model.tensorName(model.has('gate') ? 'gate' : 'up', layer)).input[0]!,
    y: product(model.tensorName('down', layer)).output[0]!,
  }))
}

function neuronNode(model: OpenedModel, layer: number, { x, y }: DenseFfValues): Node {
  return {
    name: `/model/layers.${layer}/mlp/${NEURON_SUBSET_FFN}`,
    opType: NEURON_SUBSET_FFN,
    domain: 'spexpand',
    input: [x, setName(layer), model.tensorName('gate', layer), model.tensorName('up', layer), downName(layer)],
    output: [y],
    attribute: [{ name: 'activation', type: 'string', s: 'silu' }],
  }
}

const downName = (layer: number): string => `/griffin/layers.${layer}/down_rows`

/** down (hidden, ff) as (ff, hidden), in its own type. */
function downRows({ weights, tensorName, config: { ff, hidden } }: OpenedModel, layer: number): TensorProto {
  const name = tensorName('down', layer)
  const { dtype } = weights.get(name)
  const type = ({ F32: 'float', F16: 'float16', BF16: 'bfloat16' } as const)[dtype as 'F32' | 'F16' | 'BF16']
  const bytes = weights.readBytes(name)
  const rows =
    DTYPE_BYTES[dtype] === 2
      ? transposed(new Uint16Array(bytes.buffer), new Uint16Array(ff * hidden), hidden, ff)
      : transposed(new Uint32Array(bytes.buffer), new Uint32Array(ff * hidden), hidden, ff)
  return { name: downName(layer), type, dims: [ff, hidden], rawData: new Uint8Array(rows.buffer) }
}

/** from (rows, cols) → to (cols, rows). */
function transposed<A extends Uint16Array | Uint32Array>(from: A, to: A, rows: number, cols: number): A {
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) to[j * rows + i] = from[i * cols + j]!
  return to
}
