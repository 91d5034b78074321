import { FormatError, UnsupportedError } from '../../errors.ts'
import type { Model, Node, TensorProto } from '../../formats/onnx/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import { countedNeurons } from '../../predict/griffin.ts'
import { DTYPE_BYTES } from '../../tensor/dtype.ts'

/** Output of the prompt graph with the squares of a layer's statistic, (ff). */
export const squaresName = (layer: number): string => `griffin.${layer}`
/** Output with the number of tokens that have each neuron among their largest, (ff). */
export const countsName = (layer: number): string => `griffin.counts.${layer}`

/** An ONNX message ends at 2 GiB; gathered weights lie inside it. */
export const MAX_INLINE_BYTES = 1.9e9

/** Input of the masked graph: 1 for neurons of a layer that count, 0 for the others, (ff). */
export const maskName = (layer: number): string => `griffin.mask.${layer}`

/** Names of the intermediates z (tokens, ff) of a dense decoder graph. Throws FormatError where a down product is not found. */
export function denseIntermediates(decoder: Model, model: OpenedModel): string[] {
  return Array.from({ length: model.config.layers }, (_, layer) =>
    intermediateOf(decoder, model.tensorName('down', layer)),
  )
}

/**
 * A decoder graph that also gives GRIFFIN's statistic of the tokens of the run, one more output a layer: nothing as wide as
 * the prompt leaves onnxruntime.
 *
 *   z (tokens, ff) ─┬─ ReduceL2 ─ Max tiny ─┐
 *                   └────────────────────── Div ─ ReduceSumSquare ─ griffin.{layer}
 *
 * With `isCounted` also how many tokens have each neuron among their largest.
 */
export function promptGraph(decoder: Model, intermediates: readonly string[], ff: number, isCounted = false): Model {
  const { graph } = decoder
  const nodes: Node[] = isCounted ? intermediates.flatMap((z, layer) => countNodes(z, layer)) : []
  for (const [layer, z] of intermediates.entries()) {
    const at = `/griffin/layers.${layer}`
    const op = (opType: string, input: string[], output: string, keepdims?: number): void => {
      const attribute = keepdims === undefined ? [] : [{ name: 'keepdims', type: 'int' as const, i: keepdims }]
      nodes.push({ name: `${at}/${opType}`, opType, domain: '', input, output: [output], attribute })
    }
    op('ReduceL2', [z, '/griffin/axis_1'], `${at}/norm`, 1)
    // A token without activations adds nothing, as in GriffinStatistic: 0 / tiny = 0.
    op('Max', [`${at}/norm`, '/griffin/tiny'], `${at}/divisor`)
    op('Div', [z, `${at}/divisor`], `${at}/normed`)
    op('ReduceSumSquare', [`${at}/normed`, '/griffin/axis_0'], squaresName(layer), 0)
  }
  const tiny = { name: '/griffin/tiny', type: 'float' as const, dims: [], rawData: bytesOf(Float32Array.of(1e-30)) }
  return {
    ...decoder,
    graph: {
      ...graph,
      node: [...graph.node, ...nodes],
      initializer: [...graph.initializer, axis(0n), axis(1n), tiny, ...(isCounted ? countConstants(ff) : [])],
      output: [
        ...graph.output,
        ...intermediates.flatMap((_, layer) =>
          [squaresName(layer), ...(isCounted ? [countsName(layer)] : [])].map((name) => ({
            name,
            type: 'float' as const,
            shape: [ff],
          })),
        ),
      ],
    },
  }
}

/** z (tokens, ff) ─ Abs ─ TopK ─ (value > 0) ─ ScatterElements into zeros ─ ReduceSum over tokens. */
function countNodes(z: string, layer: number): Node[] {
  const at = `/griffin/layers.${layer}/count`
  const node = (opType: string, input: string[], output: string[], attribute: Node['attribute'] = []): Node => ({
    name: `${at}/${opType}`,
    opType,
    domain: '',
    input,
    output: output.map((name) => (name.startsWith('griffin.') ? name : `${at}/${name}`)),
    attribute,
  })
  return [
    node('Abs', [z], ['magnitude']),
    node('TopK', [`${at}/magnitude`, '/griffin/counted'], ['values', 'indices']),
    node('Sign', [`${at}/values`], ['ones']),
    node('Mul', [`${at}/magnitude`, '/griffin/zero'], ['none']),
    node(
      'ScatterElements',
      [`${at}/none`, `${at}/indices`, `${at}/ones`],
      ['marked'],
      [{ name: 'axis', type: 'int', i: 1 }],
    ),
    node(
      'ReduceSum',
      [`${at}/marked`, '/griffin/axis_0'],
      [countsName(layer)],
      [{ name: 'keepdims', type: 'int', i: 0 }],
    ),
  ]
}

function countConstants(ff: number): TensorProto[] {
  const counted = new Uint8Array(BigInt64Array.of(BigInt(countedNeurons(ff))).buffer)
  return [
    { name: '/griffin/counted', type: 'int64', dims: [1], rawData: counted },
    { name: '/griffin/zero', type: 'float', dims: [], rawData: bytesOf(Float32Array.of(0)) },
  ]
}

/**
 * promptGraph() with an input for every layer that its intermediates are multiplied by, before the down projection and
 * its router see them: what leaving out neurons gives, whatever computes the products, and none of its speed.
 */
export function maskedGraph(decoder: Model, intermediates: readonly string[], ff: number, isCounted = false): Model {
  const masked = new Map(intermediates.map((z, layer) => [z, `/griffin/layers.${layer}/masked`]))
  const { graph } = decoder
  const node = graph.node.flatMap((one): Node[] => {
    const read = { ...one, input: one.input.map((name) => masked.get(name) ?? name) }
    const layer = intermediates.findIndex((z) => one.output.includes(z))
    if (layer < 0) return [read]
    const z = intermediates[layer]!
    const at = `/griffin/layers.${layer}/Mask`
    const input = [z, maskName(layer)]
    return [read, { name: at, opType: 'Mul', domain: '', input, output: [masked.get(z)!], attribute: [] }]
  })
  const masks = intermediates.map((_, layer) => ({ name: maskName(layer), type: 'float' as const, shape: [ff] }))
  const whole = { ...decoder, graph: { ...graph, node, input: [...graph.input, ...masks] } }
  return promptGraph(whole, intermediates, ff, isCounted)
}

/**
 * A dense decoder graph with only some FF neurons of each layer: their rows of gate and up (and of the biases) and columns
 * of down are gathered once, as they are stored, into the graph itself. Throws UnsupportedError when they would not fit
 * into it.
 */
export function subsetGraph(decoder: Model, model: OpenedModel, sets: readonly Int32Array[]): Model {
  const gathered = new Map<string, TensorProto>()
  let bytes = 0
  const originals = new Map(decoder.graph.initializer.map((tensor) => [tensor.name, tensor]))
  for (const [layer, set] of sets.entries())
    for (const { name, axis: along } of neuronTensors(model, layer)) {
      const original = originals.get(name)
      if (!original) throw new FormatError(`Cannot select neurons: the decoder graph has no weights "${name}"`)
      const kept = along === 1 ? gatherColumns(model, name, set) : gatherRows(model, name, set)
      bytes += kept.byteLength
      if (bytes > MAX_INLINE_BYTES)
        throw new UnsupportedError(
          `Cannot select neurons: the FF weights kept take more than ${MAX_INLINE_BYTES} bytes: lower the density`,
        )
      const dims = original.dims.map((size, i) => (i === along ? set.length : size))
      gathered.set(name, { name, type: original.type, dims, rawData: kept })
    }
  const { graph } = decoder
  return {
    ...decoder,
    graph: {
      ...graph,
      initializer: graph.initializer.map((tensor) => gathered.get(tensor.name) ?? tensor),
      valueInfo: [],
    },
  }
}

/** The tensors of a layer that have one entry for every neuron, and along which axis. The bias of down has none. */
function neuronTensors(model: OpenedModel, layer: number): { name: string; axis: 0 | 1 }[] {
  const { has, isTransposed, tensorName, config } = model
  const roles = (['gate', 'up', 'down'] as const).filter((role) => has(role))
  return roles.flatMap((role) => {
    const isFirstAxis = (role === 'down') === isTransposed(role)
    const matrix = { name: tensorName(role, layer), axis: isFirstAxis ? (0 as const) : (1 as const) }
    if (role === 'down' || !config.biases.includes(role)) return [matrix]
    return [matrix, { name: tensorName(role, layer, 'bias'), axis: 0 as const }]
  })
}

/** The value that goes into the product with a down matrix, behind the Cast of 16-bit weights. */
function intermediateOf({ graph }: Model, weight: string): string {
  const cast = graph.node.find(({ opType, input }) => opType === 'Cast' && input[0] === weight)
  const operand = cast?.output[0] ?? weight
  const product = graph.node.find(({ opType, input }) => opType === 'Gemm' && input[1] === operand)
  if (!product) throw new FormatError(`Cannot measure neurons: no product of the decoder graph uses "${weight}"`)
  return product.input[0]!
}

export function gatherRows({ weights }: OpenedModel, name: string, rows: Int32Array): Uint8Array {
  const { shape, dtype } = weights.get(name)
  const width = (shape[1] ?? 1) * DTYPE_BYTES[dtype]
  const all = weights.readBytes(name, 0, shape[0]! * width)
  const out = new Uint8Array(rows.length * width)
  for (const [i, row] of rows.entries()) out.set(all.subarray(row * width, (row + 1) * width), i * width)
  return out
}

export function gatherColumns({ weights }: OpenedModel, name: string, columns: Int32Array): Uint8Array {
  const { shape, dtype } = weights.get(name)
  const [rows, cols] = shape as [number, number]
  const size = DTYPE_BYTES[dtype]
  const all = weights.readBytes(name, 0, rows * cols * size)
  const out = new Uint8Array(rows * columns.length * size)
  let at = 0
  for (let row = 0; row < rows; row++)
    for (const column of columns) {
      const from = (row * cols + column) * size
      for (let byte = 0; byte < size; byte++) out[at++] = all[from + byte]!
    }
  return out
}

function axis(i: bigint): TensorProto {
  const rawData = new Uint8Array(BigInt64Array.of(i).buffer)
  return { name: `/griffin/axis_${i}`, type: 'int64', dims: [1], rawData }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer)
}
