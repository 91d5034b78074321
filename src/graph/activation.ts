import type { Activation } from '../model/config.ts'
import type { GraphBuilder, ValueName } from './builder.ts'

/** How each non-linearity is written in standard operators; onnxruntime fuses them into one kernel. */
const ACTIVATION_NODES: Readonly<Record<Activation, (b: GraphBuilder, path: string, x: ValueName) => ValueName>> = {
  // x ─┬─ Sigmoid ─ Mul ─ y
  //    └────────────┘
  silu: (b, path, x) => b.node(path, 'Mul', [x, b.node(path, 'Sigmoid', [x])]),
  gelu: (b, path, x) => b.node(path, 'Gelu', [x]),
  gelu_tanh: (b, path, x) => b.node(path, 'Gelu', [x], { approximate: { type: 'string', s: 'tanh' } }),
  // x · σ(1.702 x) (Hendrycks & Gimpel 2016)
  quick_gelu: (b, path, x) => {
    const steep = b.node(path, 'Mul', [x, b.constant('float', [], [1.702])])
    return b.node(path, 'Mul', [x, b.node(path, 'Sigmoid', [steep])])
  },
  relu: (b, path, x) => b.node(path, 'Relu', [x]),
}

/** y = act(x), element by element. */
export function activation(b: GraphBuilder, path: string, kind: Activation, x: ValueName): ValueName {
  return ACTIVATION_NODES[kind](b, path, x)
}

/** c · tanh(x / c), which keeps numbers inside ±c; x itself without a cap. */
export function softcap(b: GraphBuilder, path: string, x: ValueName, cap: number | null): ValueName {
  if (cap === null) return x
  const squashed = b.node(path, 'Tanh', [b.node(path, 'Mul', [x, b.constant('float', [], [1 / cap])])])
  return b.node(path, 'Mul', [squashed, b.constant('float', [], [cap])])
}

/** x · factor; x itself for 1. */
export function scaled(b: GraphBuilder, path: string, x: ValueName, factor: number): ValueName {
  return factor === 1 ? x : b.node(path, 'Mul', [x, b.constant('float', [], [factor])])
}
