import type { TensorSource } from '../../../export/shards.ts'
import { hireBase, HEAD_BASE } from '../../../export/hire-graph.ts'
import { ffTensorNames } from '../../../export/hire.ts'
import type { OpenedModel } from '../../model/open.ts'
import type { HireLayer, StoredPredictor } from '../../predict/predictor.ts'
import { DTYPE_BYTES } from '../../tensor/dtype.ts'
import type { RawTensor } from '../../tensor/dtype.ts'
import type { FfCandidates } from './hire-choose.ts'
import { BONUS } from './hire-choose.ts'

/** Tensors of hire.safetensors by name: predictors, bonus and rows of down of the FF layers, and the head's predictor. */
export function hireTensors(
  model: OpenedModel,
  layers: readonly FfCandidates[],
  chosen: readonly HireLayer[],
  head: StoredPredictor | undefined,
): Record<string, RawTensor> {
  const tensors: Record<string, RawTensor> = {}
  for (const [i, { layer, predictor, always }] of chosen.entries()) {
    const base = hireBase(ffTensorNames(model, layer))
    const { candidates, order, always: set } = layers[i]!
    const { gate, up } = candidates.find((candidate) => candidate.predictor === predictor)!
    for (const [part, tensor] of Object.entries(gate?.stored ?? {})) tensors[`${base}.gate.${part}`] = tensor
    for (const [part, tensor] of Object.entries(up.stored)) tensors[`${base}.up.${part}`] = tensor
    tensors[`${base}.down`] = rowsOfNeurons(model, layer, order)
    if (always > 0) tensors[`${base}.bonus`] = bonus(set, model.config.ff)
  }
  return { ...tensors, ...(head ? headTensors(head) : {}) }
}

/** Tensors of the softmax's predictor by name. */
export function headTensors(head: StoredPredictor): Record<string, RawTensor> {
  return Object.fromEntries(Object.entries(head).map(([part, tensor]) => [`${HEAD_BASE}.${part}`, tensor]))
}

/** All tensors of a model, its neurons in the new order of each layer: the same function. */
export function permutedTensors(model: OpenedModel, orders: readonly (Int32Array | undefined)[]): TensorSource[] {
  const changed = new Map<string, () => Uint8Array>()
  for (const [layer, order] of orders.entries()) {
    if (!order) continue
    for (const role of (['gate', 'up', 'down'] as const).filter((one) => model.has(one))) {
      const name = model.tensorName(role, layer)
      const isByRow = (role === 'down') === model.isTransposed(role)
      changed.set(name, () => {
        const stored = bytesOf(model, name)
        return (isByRow ? moveRows(stored, order) : transposed(moveRows(transposed(stored), order))).bytes
      })
      if (role === 'down' || !model.config.biases.includes(role)) continue
      const bias = model.tensorName(role, layer, 'bias')
      changed.set(bias, () => moveRows(bytesOf(model, bias), order).bytes)
    }
  }
  let held: { readonly name: string; readonly bytes: Uint8Array } | undefined
  return [...model.weights.tensors.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    read: (start, end) => {
      const make = changed.get(name)
      if (!make) return model.weights.readBytes(name, start, end)
      if (held?.name !== name) held = { name, bytes: make() }
      return held.bytes.subarray(start, end)
    },
  }))
}

/** down (d, ff) as (ff, d), in the new order: one row per neuron, as a gather wants it. */
function rowsOfNeurons(model: OpenedModel, layer: number, order: Int32Array | undefined): RawTensor {
  const stored = bytesOf(model, model.tensorName('down', layer))
  const rows = model.isTransposed('down') ? stored : transposed(stored)
  return order ? moveRows(rows, order) : rows
}

function bonus(always: Int32Array, ff: number): RawTensor {
  const values = new Float32Array(ff)
  for (const j of always) values[j] = BONUS
  return { dtype: 'F32', shape: [ff], bytes: new Uint8Array(values.buffer) }
}

function bytesOf({ weights }: OpenedModel, name: string): RawTensor {
  const { dtype, shape } = weights.get(name)
  return { dtype, shape, bytes: weights.readBytes(name) }
}

/** Row i of the result is row order[i]. */
function moveRows({ dtype, shape, bytes }: RawTensor, order: Int32Array): RawTensor {
  const width = bytes.byteLength / order.length
  const out = new Uint8Array(bytes.byteLength)
  for (const [i, from] of order.entries()) out.set(bytes.subarray(from * width, (from + 1) * width), i * width)
  return { dtype, shape, bytes: out }
}

function transposed({ dtype, shape, bytes }: RawTensor): RawTensor {
  const [rows, cols] = shape as [number, number]
  const size = DTYPE_BYTES[dtype]
  const out = new Uint8Array(bytes.byteLength)
  if (size === 2) {
    const [from, to] = [new Uint16Array(bytes.buffer, bytes.byteOffset, rows * cols), new Uint16Array(out.buffer)]
    for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) to[j * rows + i] = from[i * cols + j]
  } else {
    const [from, to] = [new Uint32Array(bytes.buffer, bytes.byteOffset, rows * cols), new Uint32Array(out.buffer)]
    for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) to[j * rows + i] = from[i * cols + j]
  }
  return { dtype, shape: [cols, rows], bytes: out }
}
