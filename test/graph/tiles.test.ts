import { describe, expect, it } from 'vitest'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { Model, TensorTypeName } from '../../src/formats/onnx/types.ts'
import { GraphBuilder, modelOf } from '../../src/graph/builder.ts'
import { withTileProducts } from '../../src/graph/tiles.ts'
import { createRng } from '../../src/linalg/rng.ts'
import { nativeStatus } from '../../src/runtime/native.ts'
import { createSession } from '../../src/runtime/session.ts'
import { fromBf16, fromF16, toBf16, toF16 } from '../../src/tensor/half.ts'

const native = nativeStatus()
const isBuilt = native.found && native.operatorsPath !== undefined
if (!isBuilt) console.log('SKIPPED part of test/graph/tiles.test.ts: dist/native is not built (npm run build:native)')

const bytes = (data: Float32Array | Uint16Array): Uint8Array => new Uint8Array(data.buffer)
const transB = { transB: { type: 'int', i: 1 } } as const

function random(length: number): Float32Array {
  const rng = createRng(length)
  return Float32Array.from({ length }, () => rng.normal())
}

/** y = x Wᵀ + bias, W (outputs, inputs) stored as `type`. */
function linearModel(type: TensorTypeName, outputs: number, inputs: number): { model: Model; W: Float32Array } {
  const b = new GraphBuilder()
  const f32 = random(outputs * inputs)
  const stored = type === 'float' ? f32 : type === 'float16' ? toF16(f32) : toBf16(f32)
  const W = b.initializer({ name: 'W', type, dims: [outputs, inputs], rawData: bytes(stored) })
  const bias = b.initializer({ name: 'bias', type: 'float', dims: [outputs], rawData: bytes(random(outputs)) })
  const weight = type === 'float' ? W : b.node('/W', 'Cast', [W], { to: { type: 'int', i: 1 } })
  b.output(b.node('/y', 'Gemm', [b.input('x', 'float', ['n', inputs]), weight, bias], transB), 'float', ['n', outputs])
  const widened =
    type === 'float' ? f32 : type === 'float16' ? fromF16(stored as Uint16Array) : fromBf16(stored as Uint16Array)
  return { model: modelOf(b.graph('linear'), { producerVersion: '' }), W: widened }
}

it('withTileProducts() takes the stored weight, adds the bias, and drops casts that nothing needs', () => {
  const { graph, opsetImport } = withTileProducts(linearModel('bfloat16', 3, 4).model, true)
  expect(graph.node.map(({ opType, domain, input }) => [opType, domain, input])).toEqual([
    ['DenseMatMul', 'spexpand.internal', ['x', 'W']],
    ['Add', '', ['/y/Gemm/output_0/unbiased', 'bias']],
  ])
  expect(graph.node[1]!.output).toEqual(['/y/Gemm/output_0'])
  expect(opsetImport).toContainEqual({ domain: 'spexpand.internal', version: 1 })
})

it('withTileProducts() takes weights as the left factor of W · xᵀ too, as f32', () => {
  const b = new GraphBuilder()
  const W = b.initializer({ name: 'W', type: 'float16', dims: [3, 2], rawData: bytes(toF16(random(6))) })
  const weight = b.node('/W', 'Cast', [W], { to: { type: 'int', i: 1 } })
  b.output(b.node('/y', 'Gemm', [weight, b.input('x', 'float', ['n', 2])], transB), 'float', [3, 'n'])
  const { graph } = withTileProducts(modelOf(b.graph('turned'), { producerVersion: '' }), true)
  expect(graph.node.map(({ opType, input }) => [opType, input])).toEqual([
    ['Cast', ['W']],
    ['DenseMatMul', ['/W/Cast/output_0', 'x']],
  ])
})

it('withTileProducts() leaves products of inputs, and of weights stored (in, out), as they are', () => {
  const b = new GraphBuilder()
  const [x, y] = [b.input('x', 'float', ['n', 2]), b.input('y', 'float', ['n', 2])]
  const W = b.initializer({ name: 'W', type: 'float', dims: [2, 2], rawData: bytes(random(4)) })
  b.node('/a', 'Gemm', [x, y], transB)
  b.node('/b', 'Gemm', [x, W])
  b.node('/c', 'Gemm', [x, W], { ...transB, alpha: { type: 'float', f: 2 } })
  const model = modelOf(b.graph('other'), { producerVersion: '' })
  expect(withTileProducts(model, false)).toBe(model)
})

describe.skipIf(!isBuilt)('DenseMatMul', () => {
  const types: TensorTypeName[] = ['float', 'float16', 'bfloat16']
  const shapes = [
    [1, 1, 1],
    [3, 70, 33],
    [65, 300, 600],
    [2, 2100, 257],
  ] as const
  it.each(types.flatMap((type) => shapes.map(([n, outputs, inputs]) => [type, n, outputs, inputs] as const)))(
    '%s: (%i tokens) x (%i, %i) equals the triple loop, on one thread and on two',
    async (type, n, outputs, inputs) => {
      const { model, W } = linearModel(type, outputs, inputs)
      const [x, bias] = [random(n * inputs + 1).subarray(1), random(outputs)]
      const results: Float32Array[] = []
      for (const [threads, fast] of [
        [1, false],
        [2, false],
        [2, true],
      ] as const) {
        const session = await createSession(encodeModel(withTileProducts(model, fast)), {
          threads,
          provider: 'spexpand',
        })
        const result = await session.run({ x: { type: 'float32', dims: [n, inputs], data: x } })
        results.push(Object.values(result)[0]!.data as Float32Array)
        await session.release()
      }
      expect(results[1]).toEqual(results[0])
      let [worst, worstFast] = [0, 0]
      for (let t = 0; t < n; t++)
        for (let o = 0; o < outputs; o++) {
          let [sum, size] = [bias[o]!, Math.abs(bias[o]!)]
          for (let i = 0; i < inputs; i++) {
            const term = x[t * inputs + i]! * W[o * inputs + i]!
            sum += term
            size += Math.abs(term)
          }
          worst = Math.max(worst, Math.abs(sum - results[0]![t * outputs + o]!) / size)
          worstFast = Math.max(worstFast, Math.abs(sum - results[2]![t * outputs + o]!) / size)
        }
      expect(worst).toBeLessThan(1e-6)
      expect(worstFast).toBeLessThan(3 * 2 ** -16)
    },
  )

  it('refuses inputs that do not fit the weights, and takes no tokens', async () => {
    const b = new GraphBuilder()
    const W = b.initializer({ name: 'W', type: 'float', dims: [2, 3], rawData: bytes(random(6)) })
    b.output(b.node('/y', 'Gemm', [b.input('x', 'float', ['n', 'k']), W], transB), 'float', ['n', 2])
    const model = withTileProducts(modelOf(b.graph('free'), { producerVersion: '' }), false)
    const session = await createSession(encodeModel(model), { threads: 1, provider: 'spexpand' })
    const run = (n: number, k: number): ReturnType<typeof session.run> =>
      session.run({ x: { type: 'float32', dims: [n, k], data: new Float32Array(n * k) } })
    await expect(run(1, 4)).rejects.toThrow(/DenseMatMul.*W has 2 dimensions and 6 elements/)
    expect(Object.values(await run(0, 3))[0]!.dims).toEqual([0, 2])
    await session.release()
  })
})
