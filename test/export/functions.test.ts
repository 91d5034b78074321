import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { sparseExpertMatMul } from '../../export/functions.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { packExpert, unpackExpert } from '../../src/mixture/expert.ts'
import { stackExperts } from '../../src/mixture/stack.ts'
import { fromF16, toF16 } from '../../src/tensor/half.ts'
import { times } from '../fixtures/twin.ts'

const LEVELS = ['disabled', 'basic', 'extended', 'all'] as const
type Float = 'float32' | 'float16'
type Case = { E: number; N: number; K: number; lead: number[]; float: Float; keep: number }

/** A model of one SparseExpertMatMul node, with the stack as inputs' constants. */
function productModel(
  body: 'stream' | 'fold',
  { E, N, K, lead, float, keep }: Case,
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
    return packExpert(W, mask, N, K, 'test')
  })
  const stack = stackExperts(packed)
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
    functions: [sparseExpertMatMul(body, E)],
    graph: {
      name: 'product',
      node: [
        {
          name: 'product',
          opType: 'SparseExpertMatMul',
          domain: 'spexpand',
          input: ['x', 'expert', 'mask', 'values', 'row_offsets'],
          output: ['y'],
          attribute: [],
        },
      ],
      initializer: [
        { name: 'mask', type: 'uint8', dims: [E, N, rowBytes], rawData: raw(stack.mask) },
        { name: 'values', type: 'float16', dims: [stack.values.length], rawData: raw(stack.values) },
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
]

describe.each(['stream', 'fold'] as const)('sparseExpertMatMul(%s)', (body) => {
  it.each(CASES)('equals the dense products at every optimisation level: %j', async (form) => {
    const { bytes, experts } = productModel(body, form)
    const { x, expert, y } = inputsOf(form, experts)
    // float32: at most 21 terms of size 1 in another order. float16: the result's own rounding, up to size 8.
    const tolerance = form.float === 'float32' ? 2e-5 : 8e-3
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
