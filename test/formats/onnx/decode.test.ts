import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import protobuf from 'protobufjs/light.js'
import { FormatError, UnsupportedError } from '../../../src/errors.ts'
import { decodeModel } from '../../../src/formats/onnx/decode.ts'
import { encodeModel } from '../../../src/formats/onnx/encode.ts'
import { everything, graph, model, node } from './models.ts'

const bytes = fs.readFileSync('test/golden/onnx/python-made.onnx')
const made = decodeModel(bytes, 'python-made.onnx')

/** Bytes of a model whose graph is given field by field: [number, bytes] pairs, each a length-delimited field. */
function raw(graphFields: readonly [number, Uint8Array][]): Uint8Array {
  const opset = message([[1, new Uint8Array(0)]])
  return message([
    [7, message(graphFields)],
    [8, opset],
  ])
}
function message(fields: readonly [number, Uint8Array | number | string][]): Uint8Array {
  const writer = protobuf.Writer.create()
  for (const [number, value] of fields)
    if (typeof value === 'number') writer.uint32(number << 3).int64(value)
    else if (typeof value === 'string') writer.uint32((number << 3) | 2).string(value)
    else writer.uint32((number << 3) | 2).bytes(value)
  return new Uint8Array(writer.finish())
}
const withTensor = (...fields: [number, Uint8Array | number | string][]): Uint8Array => raw([[5, message(fields)]])
const entry = (key: string, value: string): Uint8Array =>
  message([
    [1, key],
    [2, value],
  ])
const withAttribute = (...fields: [number, Uint8Array | number | string][]): Uint8Array =>
  raw([
    [
      1,
      message([
        [3, '/n'],
        [4, 'Op'],
        [5, message([[1, 'a'], ...fields])],
      ]),
    ],
  ])

describe('decodeModel()', () => {
  it('reads every typed data field of a model made in Python', () => {
    const wanted = JSON.parse(fs.readFileSync('test/golden/onnx/python-made.json', 'utf8')) as Record<string, string>
    const got = made.graph.initializer.filter(({ name }) => name in wanted)
    expect(Object.fromEntries(got.map(({ name, rawData }) => [name, Buffer.from(rawData!).toString('hex')]))).toEqual(
      wanted,
    )
  })

  it('reads its functions, nested graphs, values, metadata and external data', () => {
    expect(made).toMatchObject({
      irVersion: 10,
      modelVersion: 7,
      producerName: 'make_onnx',
      docString: 'golden',
      metadataProps: [{ key: 'note', value: 'λ' }],
    })
    expect(made.functions).toMatchObject([
      {
        name: 'Scale',
        domain: 'local',
        attribute: ['factor'],
        attributeDefaults: [{ name: 'unused', type: 'int', i: 3 }],
        node: [{ attribute: [{ type: 'ref', of: 'float', refAttrName: 'factor' }] }, { opType: 'Mul' }],
        metadataProps: [{ key: 'made', value: 'by hand' }],
      },
    ])
    const [matmul, loop, branch] = made.graph.node
    expect(matmul!.metadataProps).toEqual([{ key: 'spexpand.layer', value: '0' }])
    expect(loop!.attribute).toMatchObject([
      { name: 'body', g: { input: [{ shape: [] }, {}, { shape: ['n', 4] }], output: [{}, { name: 'acc_out' }] } },
    ])
    expect(branch!.attribute.map((a) => a.type === 'graph' && a.g.output)).toEqual([
      [{ name: 'out_Identity' }],
      [{ name: 'out_Neg' }],
    ])
    expect(made.graph.valueInfo).toEqual([
      { name: 's', type: 'float', shape: ['n', 4], sequence: true },
      { name: 'h', type: 'float', shape: ['', 4] },
    ])
    expect(made.graph.initializer[0]).toEqual({
      name: 'w',
      type: 'float',
      dims: [3, 4],
      external: { location: 'python-made.bin', offset: 64, length: 48 },
    })
  })

  it('reads again what encodeModel() writes of it', () => {
    expect(decodeModel(encodeModel(made))).toEqual(made)
  })

  it('tolerates fields that it does not know', () => {
    const unknown = message([
      [20, message([[1, 'training']])],
      [999, 'later'],
    ])
    expect(decodeModel(Buffer.concat([bytes, unknown]))).toEqual(made)
  })

  it('refuses bytes that are no model, and truncations inside a field, with FormatError', () => {
    for (const bad of ['', 'hello, this is text\n', '{"a": 1}', '\u0000\u0001'])
      expect(() => decodeModel(new TextEncoder().encode(bad), 'bad.onnx')).toThrow(FormatError)
    const whole = encodeModel(everything(64))
    const graphEnd = whole.length - encodeModel({ ...everything(64), graph: graph('', {}) }).length
    for (let length = 0; length < graphEnd; length++)
      expect(() => decodeModel(whole.subarray(0, length)), `${length} bytes`).toThrow(FormatError)
  })

  it.each([
    ['a graph is missing', message([[8, message([[2, 21]])]]), FormatError, 'has no graph'],
    ['the opset is missing', message([[7, new Uint8Array(0)]]), FormatError, 'no opset_import'],
    ['a name is not UTF-8', raw([[2, Uint8Array.of(0xff)]]), FormatError, 'no ONNX model'],
    ['initializers are sparse', raw([[15, new Uint8Array(0)]]), UnsupportedError, 'sparse initializers'],
    ['a tensor has type 17', withTensor([8, 'w'], [2, 17]), UnsupportedError, 'tensor "w" has element type 17'],
    ['a tensor holds strings', withTensor([8, 'w'], [2, 8]), UnsupportedError, 'holds strings'],
    [
      'a tensor has too few bytes',
      withTensor([1, 2], [2, 1], [9, new Uint8Array(4)]),
      FormatError,
      'holds 4 bytes, float [2] takes 8',
    ],
    ['a tensor has a negative dim', withTensor([1, -2], [2, 1]), FormatError, 'dims [-2]'],
    ['dims multiply past 2^53', withTensor([1, 2 ** 40], [1, 2 ** 40], [2, 1]), FormatError, 'expected sizes'],
    [
      'a location leaves the folder',
      withTensor([2, 2], [14, 1], [13, entry('location', '../x')]),
      FormatError,
      'external location "../x"',
    ],
    [
      'a location is absolute',
      withTensor([2, 2], [14, 1], [13, entry('location', '/x')]),
      FormatError,
      'external location "/x"',
    ],
    ['a location is missing', withTensor([2, 2], [14, 1]), FormatError, 'external location ""'],
    [
      'an external length is wrong',
      withTensor([2, 2], [14, 1], [13, entry('location', 'x')], [13, entry('length', '2')]),
      FormatError,
      'external length 2',
    ],
    [
      'an offset is no number',
      withTensor([2, 2], [14, 1], [13, entry('location', 'x')], [13, entry('offset', '-1')]),
      FormatError,
      'external offset is "-1"',
    ],
    [
      'an attribute is sparse',
      withAttribute([20, 11]),
      UnsupportedError,
      'attribute "a" of node "/n" (Op) has type 11',
    ],
    ['an attribute has no type', withAttribute([3, 1]), UnsupportedError, 'attribute "a" of node "/n" (Op) has type 0'],
    ['an attribute has no graph', withAttribute([20, 5]), FormatError, 'has no graph'],
    ['a string attribute is not UTF-8', withAttribute([20, 3], [4, Uint8Array.of(0xff)]), FormatError, 'is not UTF-8'],
    [
      'a value is a map',
      raw([
        [
          11,
          message([
            [1, 'm'],
            [2, message([[5, new Uint8Array(0)]])],
          ]),
        ],
      ]),
      UnsupportedError,
      'value "m" is of kind mapType',
    ],
  ] as const)('says so when %s', (_, model, kind, part) => {
    expect(() => decodeModel(model, 'bad.onnx')).toThrow(kind)
    expect(() => decodeModel(model, 'bad.onnx')).toThrow(part)
    expect(() => decodeModel(model, 'bad.onnx')).toThrow(/^Cannot read bad\.onnx: /)
  })

  it('refuses an integer beyond 2^53 in an attribute, and keeps one in a tensor', () => {
    // i (field 3) = 2^63 - 1 as a varint, type (field 20) = INT.
    const huge = Uint8Array.of(0x18, 255, 255, 255, 255, 255, 255, 255, 255, 127, 0xa0, 0x01, 2)
    const attribute = Buffer.concat([message([[1, 'a']]), huge])
    const bad = raw([[1, message([[5, attribute]])]])
    expect(() => decodeModel(bad)).toThrow('attribute "a" of node "" () is 9223372036854776000')
    expect(Buffer.from(made.graph.initializer.find(({ name }) => name === 'i64')!.rawData!).readBigInt64LE(8)).toBe(
      2n ** 63n - 1n,
    )
  })

  it('gives tensors buffers of their own, so that any typed array can be laid over them', () => {
    const data = made.graph.initializer.find(({ name }) => name === 'f64')!.rawData!
    expect([...new Float64Array(data.buffer as ArrayBuffer)]).toEqual([0.1, -1e300])
    expect(decodeModel(encodeModel(model(graph('g', { node: [node('Op', [], [])] })))).graph.node).toHaveLength(1)
  })
})
