import type { Activation } from '../model/config.ts'
import type { GraphBuilder, ValueName } from './builder.ts'

/** How each non-linearity is written in standard operators; onnxruntime fuses them into one kernel. */
const ACTIVATION_NODES: Readonly<Record<Activation, (b: GraphBuilder, path: string, x: ValueName) => ValueName>> = {
  // x ─┬─ Sigmoid ─ Mul ─ y
  //    └────────────┘
  silu: (b, path, x) => b.node(path, 'Mul', [x, b.node(path, 'Sigmoid', [x])]),
}

/** y = act(x), element by element. */
export function activation(b: GraphBuilder, path: string, kind: Activation, x: ValueName): ValueName {
  return ACTIVATION_NODES[kind](b, path, x)
}
