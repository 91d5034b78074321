import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { FormatError, ShapeError } from '../../../src/errors.ts'
import { decodeModel } from '../../../src/formats/onnx/decode.ts'
import { encodeModel } from '../../../src/formats/onnx/encode.ts'
import { tensorByteLength } from '../../../src/formats/onnx/tensor.ts'
import { TENSOR_TYPE } from '../../../src/formats/onnx/types.ts'
import type { Attribute, TensorProto, TensorTypeName, ValueInfo } from '../../../src/formats/onnx/types.ts'
import { createSafetensorsWriter } from '../../../src/formats/safetensors/writer.ts'
import { temporaryFolder } from '../temp.ts'
import { everything, graph, model, node } from './models.ts'

const integer = fc.oneof(fc.maxSafeInteger(), fc.constantFrom(0, -1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER))
const float = fc.float({ noNaN: true })
const text = fc.string({ unit: 'binary', maxLength: 6 }).filter((value) => !/\p{Surrogate}/u.test(value))
const types = (Object.keys(TENSOR_TYPE) as TensorTypeName[]).filter((type) => type !== 'string')
const tensor: fc.Arbitrary<TensorProto> = fc
  .record({
    name: text,
    type: fc.constantFrom(...types),
    dims: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
    offset: fc.option(fc.maxSafeInteger().map(Math.abs)),
  })
  .map(({ name, type, dims, offset }) => {
    const length = tensorByteLength(type, dims)
    if (offset === null) return { name, type, dims, rawData: Uint8Array.from({ length }, (_, i) => i * 37 + 1) }
    return { name, type, dims, external: { location: 'a/b.safetensors', offset, length } }
  })
const attribute: fc.Arbitrary<Attribute> = fc.oneof(
  fc.record({ name: text, type: fc.constant('int' as const), i: integer }),
  fc.record({ name: text, type: fc.constant('float' as const), f: float }),
  fc.record({ name: text, type: fc.constant('string' as const), s: text }),
  fc.record({ name: text, type: fc.constant('ints' as const), ints: fc.array(integer) }),
  fc.record({ name: text, type: fc.constant('floats' as const), floats: fc.array(float) }),
  fc.record({ name: text, type: fc.constant('strings' as const), strings: fc.array(text) }),
  fc.record({ name: text, type: fc.constant('tensor' as const), t: tensor }),
  fc.record({
    name: text,
    type: fc.constant('ref' as const),
    of: fc.constantFrom('int' as const, 'graph' as const),
    refAttrName: fc.constant('x'),
  }),
)
const value: fc.Arbitrary<ValueInfo> = fc.oneof(
  fc.record({ name: text }),
  fc.record(
    {
      name: text,
      type: fc.constantFrom(...types),
      shape: fc.array(fc.oneof(fc.nat(), fc.constantFrom('batch', ''))),
      sequence: fc.constant(true as const),
    },
    { requiredKeys: ['name', 'type'] },
  ),
)

const withTensor = (t: TensorProto) => () => encodeModel(model(graph('main', { initializer: [t] })))
const external = (location: string): TensorProto => ({
  name: 'w',
  type: 'float16',
  dims: [2],
  external: { location, offset: 0, length: 4 },
})

describe('encodeModel()', () => {
  it('gives back any model through decodeModel(), and equal bytes each time', () => {
    fc.assert(
      fc.property(fc.array(attribute), fc.array(tensor), fc.array(value), (attributes, tensors, values) => {
        const inner = graph('inner', { initializer: tensors, valueInfo: values })
        const nested: Attribute = { name: 'body', type: 'graph', g: inner }
        const nodes = [node('Op', ['a', ''], ['b'], { attribute: [...attributes, nested] })]
        const given = model(graph('main', { node: nodes, input: values }))
        const bytes = encodeModel(given)
        expect(decodeModel(bytes)).toEqual(given)
        expect(encodeModel(decodeModel(bytes))).toEqual(bytes)
      }),
      { numRuns: 100 },
    )
  })

  it('gives back functions, loops, metadata and external data through decodeModel()', () => {
    expect(decodeModel(encodeModel(everything(64)))).toEqual(everything(64))
  })

  it('writes what onnxruntime runs: a function with a Loop, weights in a safetensors file', async () => {
    const folder = temporaryFolder()
    const writer = createSafetensorsWriter(path.join(folder, 'weights.safetensors'), [
      { name: 'mask', dtype: 'U8', shape: [3] },
      { name: 'w', dtype: 'F32', shape: [3, 4] },
    ])
    writer.write('mask', new Uint8Array(3))
    writer.write('w', new Uint8Array(Float32Array.from({ length: 12 }, (_, i) => i / 8).buffer))
    writer.finish()
    fs.writeFileSync(path.join(folder, 'model.onnx'), encodeModel(everything(writer.offsetOf('w'))))
    const session = await InferenceSession.create(path.join(folder, 'model.onnx'))
    const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(1, 1, 1, 0, 2, 0), [2, 3]) })
    // (1 + 3) · 0.5 = 2 times x · w
    expect([...(y!.data as Float32Array)]).toEqual([3, 3.75, 4.5, 5.25, 2, 2.5, 3, 3.5])
    await session.release()
  })

  it('refuses integers that are not exact, tensors that do not fit, locations outside the folder', () => {
    expect(withTensor({ name: 'w', type: 'float16', dims: [2], rawData: new Uint8Array(5) })).toThrow(
      new ShapeError('Cannot encode tensor "w": got 5 bytes, float16 [2] takes 4'),
    )
    expect(withTensor({ name: 'w', type: 'int4', dims: [3], rawData: new Uint8Array(2) })).not.toThrow()
    for (const location of ['../w', '/w', 'a/../../w', 'C:w', 'a\\w', ''])
      expect(withTensor(external(location))).toThrow(FormatError)
    expect(withTensor(external('a/w'))).not.toThrow()
    const attribute: Attribute = { name: 'axis', type: 'int', i: 2 ** 53 }
    expect(() =>
      encodeModel(model(graph('main', { node: [node('Op', [], [], { name: '/op', attribute: [attribute] })] }))),
    ).toThrow('Cannot encode attribute "axis" of "/op": value is 9007199254740992')
  })
})
