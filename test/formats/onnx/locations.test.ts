import { describe, expect, it } from 'vitest'
import { externalLocations } from '../../../src/formats/onnx/locations.ts'
import type { TensorProto } from '../../../src/formats/onnx/types.ts'
import { graph, model, node } from './models.ts'

function tensor(location: string): TensorProto {
  return { name: location, type: 'float', dims: [1], external: { location, offset: 0, length: 4 } }
}

describe('externalLocations()', () => {
  it('finds tensors of initializers, attributes, subgraphs and functions', () => {
    const inner = graph('inner', {
      initializer: [tensor('c')],
      node: [node('Constant', [], ['y'], { attribute: [{ name: 'value', type: 'tensor', t: tensor('d') }] })],
    })
    const main = graph('main', {
      initializer: [tensor('a'), tensor('a'), { name: 'inline', type: 'float', dims: [0], rawData: new Uint8Array(0) }],
      node: [
        node('Constant', [], ['x'], { attribute: [{ name: 'value', type: 'tensor', t: tensor('b') }] }),
        node('If', ['x'], ['z'], { attribute: [{ name: 'then_branch', type: 'graph', g: inner }] }),
      ],
    })
    const body = [node('Constant', [], ['w'], { attribute: [{ name: 'value', type: 'tensor', t: tensor('e') }] })]
    const functions = [{ name: 'f', domain: 'd', input: [], output: ['w'], attribute: [], node: body, opsetImport: [] }]
    expect([...externalLocations(model(main, { functions }))].sort()).toEqual(['a', 'b', 'c', 'd', 'e'])
  })
})
