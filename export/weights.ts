import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import { int } from './attributes.ts'

export type { PlacedTensor, PlaceOf } from '../src/graph/weights.ts'
export { asFloat, stored } from '../src/graph/weights.ts'

/** y (T, N) = x (T, K) Wᵀ [+ bias], W (N, K). */
export function linear(b: GraphBuilder, path: string, x: ValueName, W: ValueName, bias?: ValueName): ValueName {
  return b.node(path, 'Gemm', [x, W, ...(bias ? [bias] : [])], { transB: int(1) })
}
