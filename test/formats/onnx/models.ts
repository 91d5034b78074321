import type { Graph, Model, Node } from '../../../src/formats/onnx/types.ts'

/** A node without name, domain or attributes unless given. */
export function node(opType: string, input: string[], output: string[], rest: Partial<Node> = {}): Node {
  return { name: '', opType, domain: '', input, output, attribute: [], ...rest }
}

/** A graph of which only some lists are filled. */
export function graph(name: string, rest: Partial<Graph>): Graph {
  return { name, node: [], initializer: [], input: [], output: [], valueInfo: [], ...rest }
}

export function model(main: Graph, rest: Partial<Model> = {}): Model {
  const opsetImport = [{ domain: '', version: 21 }]
  return {
    irVersion: 10,
    producerName: 'test',
    producerVersion: '1',
    opsetImport,
    functions: [],
    metadataProps: [],
    graph: main,
    ...rest,
  }
}

/**
 * y = x · w, then `trips` times y += x · w, then y · 0.5: weights in weights.safetensors beside the model at byte
 * `offset`, the loop in a model-local function, the factor an attribute of the call.
 *
 *   x (n, 3) ─ MatMul(w) ─ local.Repeat(h, trips; factor) ─ y (n, 4)
 */
export function everything(offset: number): Model {
  const body = graph('body', {
    node: [node('Identity', ['more'], ['more_out']), node('Add', ['acc', 'h'], ['acc_out'], { name: '/body/Add' })],
    input: [
      { name: 'i', type: 'int64', shape: [] },
      { name: 'more', type: 'bool', shape: [] },
      { name: 'acc', type: 'float', shape: ['n', 4] },
    ],
    output: [
      { name: 'more_out', type: 'bool', shape: [] },
      { name: 'acc_out', type: 'float', shape: ['n', 4] },
    ],
  })
  const opsetImport = [
    { domain: '', version: 21 },
    { domain: 'local', version: 1 },
  ]
  return model(
    graph('main', {
      node: [
        node('MatMul', ['x', 'w'], ['h'], { name: '/mm', metadataProps: [{ key: 'spexpand.layer', value: '0' }] }),
        node('Repeat', ['h', 'trips'], ['y'], {
          name: '/repeat',
          domain: 'local',
          attribute: [{ name: 'factor', type: 'float', f: 0.5 }],
        }),
      ],
      initializer: [
        { name: 'w', type: 'float', dims: [3, 4], external: { location: 'weights.safetensors', offset, length: 48 } },
        { name: 'trips', type: 'int64', dims: [], rawData: Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0) },
      ],
      input: [{ name: 'x', type: 'float', shape: ['n', 3] }],
      output: [{ name: 'y', type: 'float', shape: ['n', 4] }],
      valueInfo: [{ name: 'h', type: 'float', shape: ['n', 4] }],
      metadataProps: [{ key: 'place', value: 'graph' }],
    }),
    {
      opsetImport,
      metadataProps: [{ key: 'spexpand.version', value: '1' }],
      functions: [
        {
          name: 'Repeat',
          domain: 'local',
          input: ['h', 'trips'],
          output: ['y'],
          attribute: ['factor'],
          docString: 'y = factor (1 + trips) h',
          opsetImport: [{ domain: '', version: 21 }],
          node: [
            node('Constant', [], ['k'], {
              attribute: [{ name: 'value_float', type: 'ref', of: 'float', refAttrName: 'factor' }],
            }),
            node('Constant', [], ['yes'], {
              attribute: [
                { name: 'value', type: 'tensor', t: { name: '', type: 'bool', dims: [], rawData: Uint8Array.of(1) } },
              ],
            }),
            node('Loop', ['trips', 'yes', 'h'], ['sum'], { attribute: [{ name: 'body', type: 'graph', g: body }] }),
            node('Mul', ['sum', 'k'], ['y']),
          ],
          metadataProps: [{ key: 'made', value: 'by hand' }],
        },
      ],
    },
  )
}
