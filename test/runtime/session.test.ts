import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ShapeError, UnsupportedError } from '../../src/errors.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { TensorTypeName } from '../../src/formats/onnx/types.ts'
import { GraphBuilder, modelOf } from '../../src/graph/builder.ts'
import type { Tensor } from '../../src/runtime/session.ts'
import { createSession } from '../../src/runtime/session.ts'

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'spexpand-session-'))
afterAll(() => fs.rmSync(scratch, { recursive: true }))

/** y = x · w and z = x + x, with w (2, 2) in weights.bin. */
function productModel(): Uint8Array {
  fs.writeFileSync(path.join(scratch, 'weights.bin'), new Uint8Array(Float32Array.of(9, 1, 2, 3, 4).buffer))
  const b = new GraphBuilder()
  const x = b.input('x', 'float', ['n', 2])
  const w = b.external('w', 'float', [2, 2], { location: 'weights.bin', offset: 4, length: 16 })
  b.output(b.node('/y', 'MatMul', [x, w], {}, { outputs: ['y'] }), 'float', ['n', 2])
  b.output(b.node('/z', 'Add', [x, x], {}, { outputs: ['z'] }), 'float', ['n', 2])
  return encodeModel(modelOf(b.graph('product'), { producerVersion: '' }))
}

/** The input as it is. */
function identityModel(type: TensorTypeName): Uint8Array {
  const b = new GraphBuilder()
  b.output(b.node('/y', 'Identity', [b.input('x', type, ['n'])], {}, { outputs: ['y'] }), type, ['n'])
  return encodeModel(modelOf(b.graph('identity'), { producerVersion: '' }))
}

const x: Tensor = { type: 'float32', dims: [1, 2], data: Float32Array.of(1, 10) }

describe('createSession()', () => {
  it('maps external data from the folder given with bytes', async () => {
    for (const prepack of [true, false]) {
      const session = await createSession(productModel(), { threads: 1, folder: scratch, prepack })
      expect([session.inputNames, session.outputNames]).toEqual([['x'], ['y', 'z']])
      const { y, z } = await session.run({ x })
      expect(y).toEqual({ type: 'float32', dims: [1, 2], data: Float32Array.of(31, 42) })
      expect(z!.data).toEqual(Float32Array.of(2, 20))
      await session.release()
    }
  })

  it('maps external data from beside a file, with two threads', async () => {
    const file = path.join(scratch, 'model.onnx')
    fs.writeFileSync(file, productModel())
    const session = await createSession(file, { threads: 2 })
    expect((await session.run({ x }, ['y']))['y']!.data).toEqual(Float32Array.of(31, 42))
    await session.release()
  })

  it('reports a model that onnxruntime cannot load in one line', async () => {
    await expect(createSession(Uint8Array.of(1, 2, 3), { threads: 1 })).rejects.toThrow(UnsupportedError)
    await expect(createSession(path.join(scratch, 'no.onnx'), { threads: 1 })).rejects.toThrow(/no\.onnx/)
    await expect(createSession(Uint8Array.of(1, 2, 3), { threads: 1 })).rejects.not.toThrow(/\n/)
  })

  it('never runs on another provider than the one asked for', async () => {
    // Where CUDA is installed the session exists, and says so by running.
    const creation = createSession(identityModel('float'), { threads: 1, provider: 'cuda' })
    const outcome = await creation.then(
      (session) => session.outputNames,
      (error: unknown) => error,
    )
    if (Array.isArray(outcome)) expect(outcome).toEqual(['y'])
    else {
      expect(outcome).toBeInstanceOf(UnsupportedError)
      expect((outcome as Error).message).toMatch(/Cannot run on "cuda": .*or use cpu/)
    }
  })
})

describe('run()', () => {
  it('writes into fetched buffers, views of WebAssembly memory included', async () => {
    const session = await createSession(productModel(), { threads: 1, folder: scratch })
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
    const input = new Float32Array(memory.buffer, 64, 2)
    input.set([1, 10])
    const output = new Float32Array(memory.buffer, 128, 2)
    const outputs = await session.run(
      { x: { type: 'float32', dims: [1, 2], data: input } },
      { y: { type: 'float32', dims: [1, 2], data: output } },
    )
    expect(Object.keys(outputs)).toEqual(['y'])
    expect(output).toEqual(Float32Array.of(31, 42))
    await session.release()
  })

  it.each<[TensorTypeName, Tensor]>([
    ['float', { type: 'float32', dims: [2], data: Float32Array.of(1, -2) }],
    ['float16', { type: 'float16', dims: [2], data: Uint16Array.of(0x3c00, 0xc000) }],
    ['int64', { type: 'int64', dims: [2], data: BigInt64Array.of(1n, -(2n ** 62n)) }],
    ['int32', { type: 'int32', dims: [2], data: Int32Array.of(1, -2) }],
    ['bool', { type: 'bool', dims: [2], data: Uint8Array.of(1, 0) }],
    ['uint8', { type: 'uint8', dims: [2], data: Uint8Array.of(1, 255) }],
  ])('passes %s tensors through unchanged', async (type, tensor) => {
    const session = await createSession(identityModel(type), { threads: 1 })
    const { y } = await session.run({ x: tensor })
    expect(y).toEqual(tensor)
    await session.release()
  })

  it('refuses data that do not fit their dims', async () => {
    const session = await createSession(identityModel('float'), { threads: 1 })
    await expect(session.run({ x: { type: 'float32', dims: [3], data: Float32Array.of(1) } })).rejects.toThrow(
      new ShapeError('Cannot run with "x": got 1 elements, its dims [3] need 3'),
    )
    await session.release()
  })
})
