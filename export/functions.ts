import type { FunctionDef, Graph, Node } from '../src/formats/onnx/types.ts'
import { UsageError } from '../src/errors.ts'
import { foldBody } from './fold-body.ts'
import { streamBody } from './stream-body.ts'

/** Domain of our operators; its version never changes the meaning, arity or types of a published name. */
export const OPERATOR_DOMAIN = 'spexpand'
export const SPARSE_EXPERT_MATMUL = 'SparseExpertMatMul'

/** How stock onnxruntime computes our operators (docs/formats.md): decode at run time, or once at load. */
export type StockBody = 'stream' | 'fold'

const INPUTS = ['x', 'expert', 'mask', 'values', 'row_offsets'] as const

/**
 * The model-local function `spexpand.SparseExpertMatMul` (version 1) in standard operators of opset 21.
 *
 * x (…, K) f32 or f16 · expert (…) int64 in [0, E) · mask (E, N, ⌈K/8⌉) u8 · values (1 + nnz) f16 · row_offsets (E, N)
 * int64 → y (…, N): y[t] = W[expert[t]] · x[t]. The `stream` body serves every E, N and K; the `fold` body is written
 * for one E, so all sparse products of a model that carries it must have that many experts.
 */
export function sparseExpertMatMul(body: StockBody, experts: number): FunctionDef {
  if (!Number.isInteger(experts) || experts < 1)
    throw new UsageError(`Cannot write the ${body} body: got ${experts} experts, wanted a whole number of at least 1`)
  const graph = body === 'stream' ? streamBody() : foldBody(experts)
  return {
    name: SPARSE_EXPERT_MATMUL,
    domain: OPERATOR_DOMAIN,
    input: [...INPUTS],
    output: ['y'],
    attribute: [],
    node: [...constantNodes(graph), ...graph.node],
    opsetImport: [{ domain: '', version: 21 }],
    docString: 'y[t] = W[expert[t]] x[t]; W[e] is zero where mask has 0, else the next of values (rows, low bit first)',
  }
}

/** Functions have no initializers: each constant becomes a node in front of the others. */
function constantNodes(graph: Graph): Node[] {
  return graph.initializer.map((tensor) => ({
    name: `${tensor.name}/Constant`,
    opType: 'Constant',
    domain: '',
    input: [],
    output: [tensor.name],
    attribute: [{ name: 'value', type: 'tensor', t: tensor }],
  }))
}
