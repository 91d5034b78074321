import type { StringEntry } from '../src/formats/onnx/types.ts'
import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import { activated, linear } from '../src/graph/pieces.ts'
import type { Source } from '../src/graph/weights.ts'
import { weight } from '../src/graph/weights.ts'
import type { ValueForm } from '../src/mixture/values.ts'
import { gridOf } from '../src/mixture/values.ts'
import { int } from './attributes.ts'
import { OPERATOR_DOMAIN, SPARSE_EXPERT_MATMUL, SPARSE_EXPERT_MATMUL_INTEGER } from './functions.ts'
import { gridAttributes } from './value-parts.ts'
import type { PlaceOf } from './weights.ts'
import { asFloat, linear as routed, stored } from './weights.ts'

/** The matrices of an FF layer; gate only where there is one. */
export type FfMatrix = 'gate' | 'up' | 'down'

/** How the FF layer at hand is computed. */
export type FeedForward = {
  readonly path: string
  readonly layer: number
  /** Absent: the matrices are dense. */
  readonly sparse?: SparseForm
}

export type SparseForm = {
  /** Expert of every token of the batch when there is only one: zeros (T). */
  readonly onlyExpert?: ValueName
  /** Tensor names without their last part, as in the artifact ('model.layers.0.mlp.gate_proj'). */
  readonly names: Readonly<Record<FfMatrix, string>>
  /** Base names of the routers: from the FF input, and of the down projection when it has its own. */
  readonly router?: string
  readonly downRouter?: string
  /** How the kept weights are stored. */
  readonly values: ValueForm
  /** metadata_props of the node of a matrix, or of a router. */
  readonly metadata: (node: FfMatrix | 'router' | 'downRouter') => StringEntry[]
}

/**
 * down(act(gate x) · up x), without a gate down(act(up x)); biases are those of the dense matrices: x (T, hidden) →
 * (T, hidden).
 *
 *   x ── router ── expert (T) ──┬────────────────┐
 *   x ── SparseExpertMatMul gate ── act ────────┐ │
 *   x ── SparseExpertMatMul up ──────────────── Mul ── SparseExpertMatMul down
 */
export function feedForward(b: GraphBuilder, source: Source, x: ValueName, form: FeedForward): ValueName {
  const { path, sparse } = form
  const { gated, activation } = source.model.config
  const expert = sparse && (sparse.onlyExpert ?? route(b, source.place, `${path}/router`, x, sparse, 'router'))
  const gate = gated ? product(b, source, form, 'gate', x, expert) : undefined
  const z = activated(b, path, activation, gate, product(b, source, form, 'up', x, expert))
  const own = sparse?.downRouter && route(b, source.place, `${path}/down_router`, z, sparse, 'downRouter')
  return product(b, source, form, 'down', z, own || expert)
}

/** The expert of each token: arg max of A x + b, the lowest index on ties. */
function route(
  b: GraphBuilder,
  place: PlaceOf,
  path: string,
  x: ValueName,
  sparse: SparseForm,
  which: 'router' | 'downRouter',
): ValueName {
  const base = sparse[which]!
  const A = asFloat(b, place, `${base}.weight`)
  const scores = routed(b, path, x, A, asFloat(b, place, `${base}.bias`))
  return b.node(
    path,
    'ArgMax',
    [scores],
    { axis: int(1), keepdims: int(0), select_last_index: int(0) },
    { metadata: sparse.metadata(which) },
  )
}

function product(
  b: GraphBuilder,
  source: Source,
  { path, layer, sparse }: FeedForward,
  matrix: FfMatrix,
  x: ValueName,
  expert: ValueName | undefined,
): ValueName {
  if (!sparse || expert === undefined) return linear(b, source, matrix, x, layer)
  const { place, model } = source
  const name = sparse.names[matrix]
  const grid = gridOf(sparse.values)
  const tensors = grid ? ['mask', 'values', 'scales', 'row_offsets'] : ['mask', 'values', 'row_offsets']
  const parts = tensors.map((part) => stored(b, place, `${name}.experts.${part}`))
  const y = b.node(
    `${path}/${matrix}`,
    grid ? SPARSE_EXPERT_MATMUL_INTEGER : SPARSE_EXPERT_MATMUL,
    [x, expert, ...parts],
    grid ? gridAttributes(grid) : {},
    { domain: OPERATOR_DOMAIN, metadata: sparse.metadata(matrix) },
  )
  // Shape inference gives up inside the body's Loop.
  b.declare(y, 'float', ['tokens', place(`${name}.experts.mask`).shape[1]!])
  if (!model.config.biases.includes(matrix)) return y
  return b.node(`${path}/${matrix}`, 'Add', [y, weight(b, source, matrix, layer, 'bias')])
}
