import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { decodeModel } from '../../src/formats/onnx/decode.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { Model } from '../../src/formats/onnx/types.ts'
import { GraphBuilder } from '../../src/graph/builder.ts'
import {
  attentionModel,
  denseFfnModel,
  embedModel,
  ffnWithWeightsModel,
  gatedIntermediateModel,
  headModel,
  intermediateWithWeightsModel,
  downWithWeightsModel,
} from '../../src/graph/models.ts'
import { openModel } from '../../src/model/open.ts'
import type { Tensor } from '../../src/runtime/session.ts'
import { createSession } from '../../src/runtime/session.ts'

const model = openModel(path.join(import.meta.dirname, '../golden/models/llama-bf16'))
const { hidden: d, ff } = model.config
afterAll(() => model.close())

async function run(graph: Model, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await createSession(encodeModel(graph), { threads: 1, folder: model.dataFolder })
  try {
    return await session.run(feeds)
  } finally {
    await session.release()
  }
}

const matrix = (rows: number, cols: number, value: (i: number) => number): Tensor => ({
  type: 'float32',
  dims: [rows, cols],
  data: Float32Array.from({ length: rows * cols }, (_, i) => value(i)),
})
const weights = (role: 'gate' | 'up' | 'down', rows: number, cols: number): Tensor => ({
  type: 'float32',
  dims: [rows, cols],
  data: model.weights.readF32(model.tensorName(role, 1)),
})
const x = matrix(5, d, (i) => Math.sin(i))

describe('graphs with run-time weights', () => {
  it('ffnWithWeightsModel() with the dense weights is denseFfnModel()', async () => {
    const feeds = { x, gate: weights('gate', ff, d), up: weights('up', ff, d), down: weights('down', d, ff) }
    const dense = await run(denseFfnModel(model, 1), { x })
    const { y } = await run(ffnWithWeightsModel(model.config), feeds)
    expect(y!.dims).toEqual([5, d])
    // Constant weights are laid out anew for the kernels, so sums may be in another order.
    expectClose(y!, dense['ffn_out']!, 1e-5)
  })

  it('intermediateWithWeightsModel() with the dense weights is gatedIntermediateModel(), and down_in of the FF layer', async () => {
    const feeds = { x, gate: weights('gate', ff, d), up: weights('up', ff, d) }
    const { down_in } = await run(intermediateWithWeightsModel(model.config), feeds)
    const dense = await run(gatedIntermediateModel(model, 1), { x })
    expectClose(down_in!, dense['down_in']!, 1e-5)
    expect((await run(denseFfnModel(model, 1), { x }))['down_in']).toEqual(dense['down_in'])
  })

  it('downWithWeightsModel() with the dense weights is the second half of denseFfnModel()', async () => {
    const dense = await run(denseFfnModel(model, 1), { x })
    const { y } = await run(downWithWeightsModel(model.config), { x: dense['down_in']!, down: weights('down', d, ff) })
    expectClose(y!, dense['ffn_out']!, 1e-5)
  })
})

describe('graphs of a model', () => {
  it('embedModel() gives rows of the stored bf16 table', async () => {
    const { hidden } = await run(embedModel(model), {
      input_ids: { type: 'int64', dims: [1, 2], data: BigInt64Array.of(271n, 3n) },
    })
    const table = model.weights.readF32(model.tensorName('embedding'))
    expect(hidden!.dims).toEqual([1, 2, d])
    expect(hidden!.data).toEqual(Float32Array.of(...table.slice(271 * d, 272 * d), ...table.slice(3 * d, 4 * d)))
  })

  it('attentionModel() never lets a token see later ones', async () => {
    const a = Float32Array.from({ length: 20 * d }, (_, i) => Math.sin(i * 0.7))
    const changed = a.slice().fill(1e3, 13 * d)
    const session = await createSession(encodeModel(attentionModel(model, 0)), { threads: 1, folder: model.dataFolder })
    const outputs = await Promise.all(
      [a, changed].map((data) => session.run({ hidden: { type: 'float32', dims: [1, 20, d], data } })),
    )
    const [before, after] = outputs.map(({ residual }) => residual!.data as Float32Array)
    expect(after!.subarray(0, 13 * d)).toEqual(before!.subarray(0, 13 * d))
    expect(after!.subarray(13 * d)).not.toEqual(before!.subarray(13 * d))
    await session.release()
  })

  it('map weights from the .safetensors file and hold none themselves', () => {
    const graphs = [embedModel(model), attentionModel(model, 2), denseFfnModel(model, 2), headModel(model)]
    for (const graph of graphs) {
      const bytes = encodeModel(graph)
      expect(bytes.byteLength).toBeLessThan(60_000)
      expect(decodeModel(bytes).graph.initializer.filter(({ external }) => external).length).toBeGreaterThan(0)
    }
    expect(headModel(model).graph.initializer.map(({ name }) => name)).toContain('model.embed_tokens.weight')
  })
})

describe('GraphBuilder', () => {
  it('shares equal constants and keeps different ones apart', () => {
    const b = new GraphBuilder()
    expect(b.ints(1, 2)).toBe(b.ints(1, 2))
    expect(b.ints(1, 2)).not.toBe(b.ints(2, 1))
    const long = Array.from({ length: 20 }, (_, i) => i)
    expect(b.ints(...long)).toBe(b.ints(...long))
    expect(b.ints(...long)).not.toBe(b.ints(...long.toReversed()))
    expect(b.constant('float', [], [0])).not.toBe(b.constant('float', [1], [0]))
  })

  it('gives nodes of one path and operator names of their own', () => {
    const b = new GraphBuilder()
    const a = b.node('/a', 'Add', ['x', 'x'])
    expect([a, b.node('/a', 'Add', ['x', a])]).toEqual(['/a/Add/output_0', '/a/Add_1/output_0'])
  })
})

function expectClose(a: Tensor, b: Tensor, tolerance: number): void {
  expect(a.dims).toEqual(b.dims)
  const [p, q] = [a.data as Float32Array, b.data as Float32Array]
  for (let i = 0; i < p.length; i++) expect(Math.abs(p[i]! - q[i]!)).toBeLessThan(tolerance)
}
