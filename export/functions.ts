import type { FunctionDef, Graph, Node } from '../src/formats/onnx/types.ts'
import { UsageError } from '../src/errors.ts'
import type { Grid } from '../src/mixture/values.ts'
import { checkGrid } from '../src/mixture/values.ts'
import { foldBody } from './fold-body.ts'
import { streamBody } from './stream-body.ts'
import { gridAttributes } from './value-parts.ts'

/** Domain of our operators; its version never changes the meaning, arity or types of a published name. */
export const OPERATOR_DOMAIN = 'spexpand'
export const SPARSE_EXPERT_MATMUL = 'SparseExpertMatMul'
export const SPARSE_EXPERT_MATMUL_INTEGER = 'SparseExpertMatMulInteger'

/** How stock onnxruntime computes our operators (docs/formats.md): decode at run time, or once at load. */
export type StockBody = 'stream' | 'fold'

/**
 * The model-local function `spexpand.SparseExpertMatMul` (version 1) in standard operators of opset 21.
 *
 * x (…, K) f32 or f16 · expert (…) int64 in [0, E) · mask (E, N, ⌈K/8⌉) u8 · values (1 + nnz) f16 or bf16 · row_offsets (E, N)
 * int64 → y (…, N): y[t] = W[expert[t]] · x[t]. The `stream` body serves every E, N and K; the `fold` body is written
 * for one E, so all sparse products of a model that carries it must have that many experts.
 */
export function sparseExpertMatMul(body: StockBody, experts: number): FunctionDef {
  return {
    name: SPARSE_EXPERT_MATMUL,
    input: ['x', 'expert', 'mask', 'values', 'row_offsets'],
    attribute: [],
    ...bodyOf(body, experts),
    docString: 'y[t] = W[expert[t]] x[t]; W[e] is zero where mask has 0, else the next of values (rows, low bit first)',
  }
}

/**
 * The model-local function `spexpand.SparseExpertMatMulInteger` (version 1): the same with `values` on a grid, int8 (1 + nnz)
 * or two 4-bit numbers a byte, and scales (E, N, G) f16. Written for one grid: all integer products of a model that
 * carries it must have these `bits` and this `group_size`. Computes as accuracy_level 0, whatever the node says.
 */
export function sparseExpertMatMulInteger(body: StockBody, experts: number, grid: Grid): FunctionDef {
  checkGrid(grid)
  return {
    name: SPARSE_EXPERT_MATMUL_INTEGER,
    input: ['x', 'expert', 'mask', 'values', 'scales', 'row_offsets'],
    attribute: Object.keys(gridAttributes(grid)),
    ...bodyOf(body, experts, grid),
    docString:
      'y[t] = W[expert[t]] x[t]; W[e] is zero where mask has 0, else the next of values (rows, low bit first) times ' +
      'the scale of its row and group of inputs',
  }
}

function bodyOf(
  body: StockBody,
  experts: number,
  grid?: Grid,
): Pick<FunctionDef, 'domain' | 'output' | 'node' | 'opsetImport'> {
  if (!Number.isInteger(experts) || experts < 1)
    throw new UsageError(`Cannot write the ${body} body: got ${experts} experts, wanted a whole number of at least 1`)
  const graph = body === 'stream' ? streamBody(grid) : foldBody(experts, grid)
  return {
    domain: OPERATOR_DOMAIN,
    output: ['y'],
    node: [...constantNodes(graph), ...graph.node],
    opsetImport: [{ domain: '', version: 21 }],
  }
}

/** Functions have no initializers: each constant becomes a node in front of the others. */
export function constantNodes(graph: Graph): Node[] {
  return graph.initializer.map((tensor) => ({
    name: `${tensor.name}/Constant`,
    opType: 'Constant',
    domain: '',
    input: [],
    output: [tensor.name],
    attribute: [{ name: 'value', type: 'tensor', t: tensor }],
  }))
}
