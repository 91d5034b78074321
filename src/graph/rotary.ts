import type { Rope } from '../model/rope.ts'
import { dynamicTheta, inverseFrequencies, rotaryScale } from '../model/rope.ts'
import { scaled } from './activation.ts'
import type { GraphBuilder, ValueName } from './builder.ts'
import { castToFloat } from './weights.ts'

/** Cosines and sines of the angles of some positions, (n, dim / 2) each. */
export type Angles = { readonly cos: ValueName; readonly sin: ValueName }

/**
 * Angles of `positions` (n) int64. Computed in the graph: they are nothing beside the products, and tables up to the
 * longest position would be tens of MB in every graph. `length` gives the tokens of the longest sequence, () int64, for
 * embeddings that depend on it; transformers too counts the longest of the batch.
 *
 *     positions (n) ─ Cast ─ Unsqueeze ─ Mul 1/wavelengths ─┬─ Cos
 *                                                           └─ Sin
 */
export function rotaryAngles(
  b: GraphBuilder,
  path: string,
  { rope, dim }: { readonly rope: Rope; readonly dim: number },
  positions: ValueName,
  length: () => ValueName,
): Angles {
  const column = b.node(path, 'Unsqueeze', [castToFloat(b, path, positions), b.ints(-1)])
  const angles = b.node(path, 'Mul', [column, frequencies(b, path, rope, dim, length)])
  const factor = rotaryScale(rope)
  return {
    cos: scaled(b, path, b.node(path, 'Cos', [angles]), factor),
    sin: scaled(b, path, b.node(path, 'Sin', [angles]), factor),
  }
}

/** (1, dim / 2) */
function frequencies(b: GraphBuilder, path: string, rope: Rope, dim: number, length: () => ValueName): ValueName {
  const row = (values: ArrayLike<number>): ValueName => b.constant('float', [1, dim / 2], Array.from(values))
  switch (rope.type) {
    case 'longrope': {
      const isLong = b.node(path, 'Greater', [length(), b.constant('int64', [], [rope.originalMaxPositions])])
      const [short, long] = [1, rope.originalMaxPositions + 1].map((n) => row(inverseFrequencies(rope, dim, n)))
      return b.node(path, 'Where', [isLong, long!, short!])
    }
    case 'dynamic':
      return dynamicFrequencies(b, path, rope, dim, length())
    default:
      return row(inverseFrequencies(rope, dim))
  }
}

/** theta(length)^(-2j/dim), see dynamicTheta(): theta · stretch(length)^(dim / (dim - 2)), a power of its own for each j. */
function dynamicFrequencies(
  b: GraphBuilder,
  path: string,
  rope: Extract<Rope, { type: 'dynamic' }>,
  dim: number,
  length: ValueName,
): ValueName {
  const { factor, originalMaxPositions } = rope
  const number = (value: number): ValueName => b.constant('float', [], [value])
  const longest = b.node(path, 'Max', [castToFloat(b, path, length), number(originalMaxPositions)])
  const grown = b.node(path, 'Mul', [longest, number(factor / originalMaxPositions)])
  const stretch = b.node(path, 'Sub', [grown, number(factor - 1)])
  const exponents = Array.from({ length: dim / 2 }, (_, j) => -(2 * j) / (dim - 2))
  const factors = b.node(path, 'Pow', [stretch, b.constant('float', [1, dim / 2], exponents)])
  const plain = inverseFrequencies({ type: 'default', theta: dynamicTheta(rope, dim, 1) }, dim)
  return b.node(path, 'Mul', [factors, b.constant('float', [1, dim / 2], [...plain])])
}
