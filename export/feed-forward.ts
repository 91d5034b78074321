import type { StringEntry } from '../src/formats/onnx/types.ts'
import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import type { ModelConfig } from '../src/model/config.ts'
import type { ValueForm } from '../src/mixture/values.ts'
import { gridOf } from '../src/mixture/values.ts'
import { int } from './attributes.ts'
import { OPERATOR_DOMAIN, SPARSE_EXPERT_MATMUL, SPARSE_EXPERT_MATMUL_INTEGER } from './functions.ts'
import { gridAttributes } from './value-parts.ts'
import type { PlaceOf } from './weights.ts'
import { asFloat, linear, stored } from './weights.ts'

/** The matrices of a gated FF layer. */
export type FfMatrix = 'gate' | 'up' | 'down'

/** How the FF layer at hand is computed. */
export type FeedForward = {
  readonly path: string
  /** Tensor names without their last part, as in the artifact ('model.layers.0.mlp.gate_proj'). */
  readonly names: Readonly<Record<FfMatrix, string>>
  /** Absent: the matrices are dense. */
  readonly sparse?: SparseForm
}

export type SparseForm = {
  /** Expert of every token of the batch when there is only one: zeros (T). */
  readonly onlyExpert?: ValueName
  /** Base names of the routers: from the FF input, and of the down projection when it has its own. */
  readonly router?: string
  readonly downRouter?: string
  /** How the kept weights are stored. */
  readonly values: ValueForm
  /** metadata_props of the node of a matrix, or of a router. */
  readonly metadata: (node: FfMatrix | 'router' | 'downRouter') => StringEntry[]
}

/**
 * down(silu(gate x) · up x): x (T, hidden) → (T, hidden).
 *
 *   x ── router ── expert (T) ──┬────────────────┐
 *   x ── SparseExpertMatMul gate ── Sigmoid · ──┐ │
 *   x ── SparseExpertMatMul up ──────────────── Mul ── SparseExpertMatMul down
 */
export function feedForward(
  b: GraphBuilder,
  config: ModelConfig,
  place: PlaceOf,
  x: ValueName,
  layer: FeedForward,
): ValueName {
  const { path, sparse } = layer
  const expert = sparse && (sparse.onlyExpert ?? route(b, place, `${path}/router`, x, sparse, 'router'))
  const gate = product(b, place, layer, 'gate', x, expert)
  const up = product(b, place, layer, 'up', x, expert)
  const z = b.node(path, 'Mul', [activate(b, config, path, gate), up])
  const own = sparse?.downRouter && route(b, place, `${path}/down_router`, z, sparse, 'downRouter')
  return product(b, place, layer, 'down', z, own || expert)
}

function activate(b: GraphBuilder, config: ModelConfig, path: string, x: ValueName): ValueName {
  switch (config.activation) {
    case 'silu':
      return b.node(path, 'Mul', [x, b.node(path, 'Sigmoid', [x])])
  }
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
  const scores = linear(b, path, x, A, asFloat(b, place, `${base}.bias`))
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
  place: PlaceOf,
  { path, names, sparse }: FeedForward,
  matrix: FfMatrix,
  x: ValueName,
  expert: ValueName | undefined,
): ValueName {
  const name = names[matrix]
  if (!sparse || expert === undefined) return linear(b, `${path}/${matrix}`, x, asFloat(b, place, `${name}.weight`))
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
  return y
}
