import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { AttributeValue, TensorTypeName } from '../../src/formats/onnx/types.ts'
import type { ValueName } from '../../src/graph/builder.ts'
import { GraphBuilder, modelOf } from '../../src/graph/builder.ts'
import { toF16 } from '../../src/tensor/half.ts'
import type { Pool } from './random.ts'

/** `count` different gated FFNs one after the other: hidden → ff → hidden. */
export type Shape = { readonly hidden: number; readonly ff: number; readonly count: number; readonly experts: number }
export type Chain = {
  readonly model: Uint8Array
  /** Bytes of weights that one token reads of one FFN. */
  readonly bytesPerFfn: number
}

/** Adds y = W x with random W (outputs, inputs) and returns y. */
export type ProductOf = (b: Weights, name: string, x: ValueName, inputs: number, outputs: number) => ValueName

/** A graph under construction, with what its weights are made of. */
export type Weights = {
  readonly b: GraphBuilder
  readonly pool: Pool
  readonly experts: number
  /** Adds a weight of which a token reads one of `experts` equal parts. */
  add(name: string, type: TensorTypeName, dims: readonly number[], data: ArrayBufferView): ValueName
}

const int = (i: number): AttributeValue => ({ type: 'int', i })
const BLOCK = 32

/** x ── gate, up ── silu(gate) · up ── down ── + x, `count` times. */
export function ffnChain({ hidden, ff, count, experts }: Shape, product: ProductOf, pool: Pool): Chain {
  const b = new GraphBuilder()
  let bytes = 0
  const weights: Weights = {
    b,
    pool,
    experts,
    add(name, type, dims, data) {
      bytes += data.byteLength
      const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      return b.initializer({ name, type, dims: [...dims], rawData })
    },
  }
  let x = b.input('x', 'float', ['tokens', hidden])
  b.input('expert', 'int64', ['tokens'])
  for (let i = 0; i < count; i++) {
    const gate = product(weights, `${i}.gate`, x, hidden, ff)
    const up = product(weights, `${i}.up`, x, hidden, ff)
    const silu = b.node(`/${i}`, 'Mul', [gate, b.node(`/${i}`, 'Sigmoid', [gate])])
    const z = b.node(`/${i}`, 'Mul', [silu, up])
    const last = product(weights, `${i}.down`, z, ff, hidden)
    x = b.node(`/${i}`, 'Add', [x, last], {}, i === count - 1 ? { outputs: ['y'] } : {})
  }
  b.output('y', 'float', ['tokens', hidden])
  const model = modelOf(b.graph('ffn'), { producerVersion: 'bench' })
  model.opsetImport.push({ domain: 'spexpand', version: 1 })
  return { model: encodeModel(model), bytesPerFfn: bytes / count / experts }
}

export const denseF32: ProductOf = ({ b, pool, add }, name, x, inputs, outputs) =>
  b.node(`/${name}`, 'MatMul', [x, add(`${name}.w`, 'float', [inputs, outputs], pool.floats(inputs * outputs))])

/** com.microsoft.MatMulNBits in blocks of 32 at accuracy level 4: x is rounded to int8 like ours. */
export function denseBits(bits: 4 | 8): ProductOf {
  return ({ b, pool, add }, name, x, inputs, outputs) => {
    const blocks = Math.ceil(inputs / BLOCK)
    const packed = (BLOCK * bits) / 8
    const values = add(`${name}.w`, 'uint8', [outputs, blocks, packed], pool.bytes(outputs * blocks * packed))
    const scales = add(`${name}.s`, 'float', [outputs * blocks], new Float32Array(outputs * blocks).fill(0.01))
    const shape = { K: int(inputs), N: int(outputs), bits: int(bits), block_size: int(BLOCK), accuracy_level: int(4) }
    return b.node(`/${name}`, 'MatMulNBits', [x, values, scales], shape, { domain: 'com.microsoft' })
  }
}

/** Our operators over E experts, the bits of the mask as the pool gives them. */
export function sparse(type: 'f16' | 'int8' | 'int4', groupSize: number): ProductOf {
  return ({ b, pool, experts, add }, name, x, inputs, outputs) => {
    const mask = pool.bits((experts * outputs * inputs) / 8)
    const { offsets, kept } = rowOffsets(mask, experts * outputs, inputs / 8)
    const tensors = [
      x,
      'expert',
      add(`${name}.mask`, 'uint8', [experts, outputs, inputs / 8], mask),
      values({ pool, add }, name, type, kept),
    ]
    if (type !== 'f16') {
      const groups = groupSize === 0 ? 1 : Math.ceil(inputs / groupSize)
      const scales = toF16(new Float32Array(experts * outputs * groups).fill(0.01))
      tensors.push(add(`${name}.scales`, 'float16', [experts, outputs, groups], scales))
    }
    tensors.push(add(`${name}.offsets`, 'int64', [experts, outputs], offsets))
    const grid = { bits: int(type === 'int8' ? 8 : 4), group_size: int(groupSize), accuracy_level: int(4) }
    const op = type === 'f16' ? 'SparseExpertMatMul' : 'SparseExpertMatMulInteger'
    return b.node(`/${name}`, op, tensors, type === 'f16' ? {} : grid, { domain: 'spexpand' })
  }
}

/** The zero and the kept weights. */
function values({ pool, add }: Pick<Weights, 'pool' | 'add'>, name: string, type: string, kept: number): ValueName {
  if (type === 'f16') {
    const halves = toF16(pool.floats(1 + kept))
    halves[0] = 0
    return add(`${name}.values`, 'float16', [1 + kept], halves)
  }
  const bytes = pool.bytes(type === 'int8' ? 1 + kept : Math.ceil((1 + kept) / 2))
  bytes[0] = type === 'int8' ? 0 : bytes[0]! & 0xf0
  if (type === 'int4' && kept % 2 === 0) bytes[bytes.length - 1]! &= 0x0f
  return add(`${name}.values`, type === 'int8' ? 'int8' : 'uint8', [bytes.length], bytes)
}

function rowOffsets(mask: Uint8Array, rows: number, rowBytes: number): { offsets: BigInt64Array; kept: number } {
  const population = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length)
  const offsets = new BigInt64Array(rows)
  let kept = 0
  for (let row = 0, at = 0; row < rows; row++) {
    offsets[row] = BigInt(kept)
    for (const end = at + rowBytes; at < end; at++) kept += population[mask[at]!]!
  }
  return { offsets, kept }
}
