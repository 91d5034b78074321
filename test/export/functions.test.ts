import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { sparseExpertMatMul, sparseExpertMatMulInteger } from '../../export/functions.ts'
import { gridAttributes } from '../../export/value-parts.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { unpackExpert } from '../../src/mixture/expert.ts'
import { stackExperts } from '../../src/mixture/stack.ts'
import type { ValueForm } from '../../src/mixture/values.ts'
import { gridOf } from '../../src/mixture/values.ts'
import { fromF16, toF16 } from '../../src/tensor/half.ts'
import { packAs } from '../fixtures/randomArtifact.ts'
import { times } from '../fixtures/twin.ts'

const LEVELS = ['disabled', 'basic', 'extended', 'all'] as const
type Float = 'float32' | 'float16'
type Case = { E: number; N: number; K: number; lead: number[]; float: Float; keep: number; values?: ValueForm }

/** A model of one sparse product, with the stack as inputs' constants. */
function productModel(
  body: 'stream' | 'fold',
  { E, N, K, lead, float, keep, values = { type: 'f16' } }: Case,
  seed = 1,
): {
  bytes: Uint8Array
  experts: Float32Array[]
} {
  const rng = createRng(seed)
  const rowBytes = Math.ceil(K / 8)
  const packed = Array.from({ length: E }, () => {
    const mask = new Uint8Array(N * rowBytes)
    for (let i = 0; i < N; i++)
      for (let j = 0; j < K; j++) if (rng.uniform() < keep) mask[i * rowBytes + (j >> 3)]! |= 1 << (j & 7)
    const W = Float32Array.from({ length: N * K }, () => rng.normal())
    return packAs(values, W, mask, N, K)
  })
  const stack = stackExperts(packed)
  const grid = gridOf(values)
  const dims = lead.map((_, i) => `lead${i}`)
  const bytes = encodeModel({
    irVersion: 10,
    producerName: 'test',
    producerVersion: '0',
    opsetImport: [
      { domain: '', version: 21 },
      { domain: 'spexpand', version: 1 },
    ],
    metadataProps: [],
    functions: [grid ? sparseExpertMatMulInteger(body, E, grid) : sparseExpertMatMul(body, E)],
    graph: {
      name: 'product',
      node: [
        {
          name: 'product',
          opType: grid ? 'SparseExpertMatMulInteger' : 'SparseExpertMatMul',
          domain: 'spexpand',
          input: ['x', 'expert', 'mask', 'values', ...(grid ? ['scales'] : []), 'row_offsets'],
          output: ['y'],
          attribute: Object.entries(grid ? gridAttributes(grid) : {}).map(([name, value]) => ({ name, ...value })),
        },
      ],
      initializer: [
        { name: 'mask', type: 'uint8', dims: [E, N, rowBytes], rawData: raw(stack.mask) },
        { name: 'values', type: ONNX_TYPE[values.type], dims: [stack.values.length], rawData: raw(stack.values) },
        ...(stack.scales
          ? [
              {
                name: 'scales',
                type: 'float16' as const,
                dims: [E, N, stack.scales.length / E / N],
                rawData: raw(stack.scales),
              },
            ]
          : []),
        { name: 'row_offsets', type: 'int64', dims: [E, N], rawData: raw(stack.rowOffsets) },
      ],
      input: [
        { name: 'x', type: float === 'float32' ? 'float' : 'float16', shape: [...dims, K] },
        { name: 'expert', type: 'int64', shape: dims },
      ],
      output: [{ name: 'y', type: float === 'float32' ? 'float' : 'float16', shape: [...dims, N] }],
      valueInfo: [],
    },
  })
  return { bytes, experts: packed.map((expert) => unpackExpert(expert, N, K)) }
}

const ONNX_TYPE = { f16: 'float16', bf16: 'bfloat16', int8: 'int8', int4: 'uint8' } as const

function raw(a: ArrayBufferView): Uint8Array {
  return new Uint8Array(a.buffer, a.byteOffset, a.byteLength)
}

/** Random x and expert ids of the leading dims, and y by the twin. */
function inputsOf(
  { E, K, N, lead, float }: Case,
  experts: Float32Array[],
): {
  x: Float32Array
  expert: BigInt64Array
  y: Float32Array
} {
  const rng = createRng(2)
  const T = lead.reduce((n, d) => n * d, 1)
  let x: Float32Array = Float32Array.from({ length: T * K }, () => rng.normal())
  if (float === 'float16') x = fromF16(toF16(x))
  const expert = BigInt64Array.from({ length: T }, () => BigInt(rng.integer(E)))
  const y = new Float32Array(T * N)
  for (let t = 0; t < T; t++)
    y.set(times(experts[Number(expert[t])]!, Float64Array.from(x.subarray(t * K, (t + 1) * K))), t * N)
  return { x, expert, y }
}

async function run(
  bytes: Uint8Array,
  form: Case,
  level: (typeof LEVELS)[number],
  x: Float32Array,
  expert: BigInt64Array,
): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(bytes, {
    graphOptimizationLevel: level,
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
  })
  const data = form.float === 'float32' ? x : toF16(x)
  const { y } = await session.run({
    x: new ort.Tensor(form.float, data, [...form.lead, form.K]),
    expert: new ort.Tensor('int64', expert, form.lead),
  })
  await session.release()
  expect(y!.dims).toEqual([...form.lead, form.N])
  return form.float === 'float32'
    ? (y!.data as Float32Array)
    : fromF16(new Uint16Array((y!.data as Uint16Array).buffer))
}

const CASES: readonly Case[] = [
  { E: 4, N: 10, K: 16, lead: [7], float: 'float32', keep: 0.3 },
  { E: 4, N: 10, K: 13, lead: [2, 3], float: 'float32', keep: 0.5 },
  { E: 1, N: 5, K: 9, lead: [6], float: 'float32', keep: 0.3 },
  { E: 3, N: 6, K: 8, lead: [0], float: 'float32', keep: 0.3 },
  { E: 3, N: 6, K: 8, lead: [2, 0], float: 'float32', keep: 0.3 },
  { E: 3, N: 6, K: 7, lead: [5], float: 'float32', keep: 0 },
  { E: 3, N: 6, K: 7, lead: [5], float: 'float32', keep: 1 },
  { E: 16, N: 33, K: 21, lead: [40], float: 'float32', keep: 0.3 },
  { E: 4, N: 10, K: 13, lead: [7], float: 'float16', keep: 0.5 },
  { E: 4, N: 10, K: 13, lead: [7], float: 'float32', keep: 0.5, values: { type: 'bf16' } },
  // Values of an expert that begin in the high half of a byte, and in the low one; one group, several, the last cut.
  { E: 5, N: 7, K: 13, lead: [9], float: 'float32', keep: 0.5, values: { type: 'int4', groupSize: 0 } },
  { E: 5, N: 7, K: 72, lead: [2, 5], float: 'float32', keep: 0.3, values: { type: 'int4', groupSize: 32 } },
  { E: 1, N: 7, K: 150, lead: [4], float: 'float32', keep: 0.3, values: { type: 'int4', groupSize: 128 } },
  { E: 3, N: 6, K: 40, lead: [5], float: 'float32', keep: 0, values: { type: 'int4', groupSize: 32 } },
  { E: 4, N: 9, K: 70, lead: [6], float: 'float16', keep: 0.4, values: { type: 'int4', groupSize: 64 } },
  { E: 4, N: 9, K: 21, lead: [6], float: 'float32', keep: 0.4, values: { type: 'int8', groupSize: 0 } },
  { E: 4, N: 9, K: 100, lead: [0], float: 'float32', keep: 0.4, values: { type: 'int8', groupSize: 32 } },
  { E: 4, N: 9, K: 100, lead: [11], float: 'float32', keep: 1, values: { type: 'int8', groupSize: 64 } },
]

describe.each(['stream', 'fold'] as const)('sparseExpertMatMul(%s) and sparseExpertMatMulInteger()', (body) => {
  it.each(CASES)('equals the dense products at every optimisation level: %j', async (form) => {
    const { bytes, experts } = productModel(body, form)
    const { x, expert, y } = inputsOf(form, experts)
    // float32: at most 100 terms of size 1 in another order. float16: the result's own rounding, up to size 16.
    const tolerance = form.float === 'float32' ? 4e-5 : 1.6e-2
    for (const level of LEVELS) {
      const got = await run(bytes, form, level, x, expert)
      expect(got.length).toBe(y.length)
      for (let i = 0; i < y.length; i++) expect(Math.abs(got[i]! - y[i]!)).toBeLessThan(tolerance)
    }
  })
})

describe('sparseExpertMatMul()', () => {
  it('refuses a number of experts that is none', () => {
    expect(() => sparseExpertMatMul('fold', 0)).toThrow(/got 0 experts/)
    expect(() => sparseExpertMatMul('fold', 1.5)).toThrow(/got 1.5 experts/)
  })

  it('is the same for every number of experts in the stream body', () => {
    expect(sparseExpertMatMul('stream', 1)).toEqual(sparseExpertMatMul('stream', 64))
  })
})

describe('sparseExpertMatMulInteger()', () => {
  it('takes its attributes from the node, all of them', () => {
    const { attribute, input } = sparseExpertMatMulInteger('stream', 2, { bits: 4, groupSize: 32 })
    expect(attribute).toEqual(['bits', 'group_size', 'accuracy_level'])
    expect(input).toEqual(['x', 'expert', 'mask', 'values', 'scales', 'row_offsets'])
  })

  it('refuses a grid that no artifact has', () => {
    expect(() => sparseExpertMatMulInteger('stream', 2, { bits: 4, groupSize: 48 })).toThrow(/groups of 48/)
  })
})
