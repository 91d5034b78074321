import type { FunctionDef } from '../src/formats/onnx/types.ts'
import type { ValueName } from '../src/graph/builder.ts'
import { GraphBuilder } from '../src/graph/builder.ts'
import type { Attributes } from './attributes.ts'
import { int, ON_AXIS_0, TO_FLOAT } from './attributes.ts'
import { constantNodes, OPERATOR_DOMAIN } from './functions.ts'

export const NEURON_SUBSET_FFN = 'NeuronSubsetFFN'

/**
 * The model-local function `spexpand.NeuronSubsetFFN` (version 1) in standard operators: x (…, K) · idx (k) · gate, up (F,
 * K) · down (F, N), one row per neuron → y (…, N).
 *
 *   idx ── Gather gate, up, down ── Cast ── rows (k, ·)
 *   x ── Gemm gate ── Sigmoid · ── Mul (Gemm up) ── Gemm down
 *
 * Rows are gathered as they are stored and only those widened: a masked dense layer would keep a second copy of all
 * weights as f32 for the life of the session.
 */
export function neuronSubsetFfn(): FunctionDef {
  const b = new GraphBuilder()
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node('/neurons', op, inputs, attributes)
  const rows = (W: ValueName): ValueName => at('Cast', [at('Gather', [W, 'idx'])], TO_FLOAT)
  const shape = at('Shape', ['x'])
  const inputs = at('Slice', [shape, b.ints(-1), b.ints(Number.MAX_SAFE_INTEGER)])
  const flat = at('Reshape', [at('Cast', ['x'], TO_FLOAT), at('Concat', [b.ints(-1), inputs], ON_AXIS_0)])
  const product = (W: ValueName): ValueName => at('Gemm', [flat, rows(W)], { transB: int(1) })
  const gate = product('gate')
  const z = at('Mul', [at('Mul', [gate, at('Sigmoid', [gate])]), product('up')])
  const y = at('Gemm', [z, rows('down')])
  const leading = at('Slice', [shape, b.ints(0), b.ints(-1)])
  const outputs = at('Slice', [at('Shape', ['down']), b.ints(1), b.ints(2)])
  const reshaped = at('Reshape', [y, at('Concat', [leading, outputs], ON_AXIS_0)], { allowzero: int(1) })
  b.node('/neurons', 'CastLike', [reshaped, 'x'], {}, { outputs: ['y'] })
  const graph = b.graph('neurons')
  return {
    name: NEURON_SUBSET_FFN,
    domain: OPERATOR_DOMAIN,
    input: ['x', 'idx', 'gate', 'up', 'down'],
    output: ['y'],
    attribute: ['activation'],
    node: [...constantNodes(graph), ...graph.node],
    opsetImport: [{ domain: '', version: 21 }],
    docString: 'y = sum over j in idx of silu(gate[j] x) (up[j] x) down[j]; activation is always silu in version 1',
  }
}
