import type { GraphBuilder, ValueName } from '../src/graph/builder.ts'
import type { Grid } from '../src/mixture/values.ts'
import type { Attributes } from './attributes.ts'
import { int, ON_AXIS_0, TO_FLOAT, TO_INT32, TO_THE_END } from './attributes.ts'

/** How the bodies read `values` and `scales`. `b` builds the nodes, `outer` holds the constants of the function. */

/**
 * Elements [first, last) of `values` as f32, first and last of shape [1]; `last` may lie beyond the end. Four bits: whole
 * bytes, each looked up as two numbers, and the number before the first one cut off.
 */
export function keptValues(
  b: GraphBuilder,
  outer: GraphBuilder,
  path: string,
  grid: Grid | undefined,
  first: ValueName,
  last: ValueName,
): ValueName {
  const at = (op: string, inputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node(path, op, inputs, attributes)
  if (grid?.bits !== 4) return at('Cast', [at('Slice', ['values', first, last])], TO_FLOAT)
  const two = outer.ints(2)
  const firstByte = at('Div', [first, two])
  const endByte = at('Div', [at('Add', [last, outer.ints(1)]), two])
  const numbers = nibbles(b, outer, path, at('Slice', ['values', firstByte, endByte]))
  return at('Slice', [numbers, at('Sub', [first, at('Mul', [firstByte, two])]), outer.ints(TO_THE_END)])
}

/** bytes (n) → the 2n numbers in them as f32, low half first. */
export function nibbles(b: GraphBuilder, outer: GraphBuilder, path: string, bytes: ValueName): ValueName {
  const table = outer.constant(
    'float',
    [256, 2],
    Array.from({ length: 512 }, (_, i) => signedNibble((i >> 1) >> ((i & 1) * 4))),
  )
  const pairs = b.node(path, 'Gather', [table, b.node(path, 'Cast', [bytes], TO_INT32)])
  return b.node(path, 'Reshape', [pairs, outer.ints(-1)])
}

/** Elements in `values`, or one more: [1]. */
export function valueCount(b: GraphBuilder, path: string, grid: Grid | undefined): ValueName {
  const shape = b.node(path, 'Shape', ['values'])
  return grid?.bits === 4 ? b.node(path, 'Mul', [shape, b.ints(2)]) : shape
}

/**
 * W (…, N, inputs) · scales (…, N, G), input k by group ⌊k / groupSize⌋; `inputs` [1] may count padding, which is 0 in W.
 * The axes before the inputs are `leading`, 1 or 2.
 */
export function scaled(
  b: GraphBuilder,
  outer: GraphBuilder,
  path: string,
  { groupSize }: Grid,
  W: ValueName,
  scales: ValueName,
  { inputs, leading }: { readonly inputs: ValueName; readonly leading: 1 | 2 },
): ValueName {
  const at = (op: string, nodeInputs: ValueName[], attributes: Attributes = {}): ValueName =>
    b.node(path, op, nodeInputs, attributes)
  const wide = at('Cast', [scales], TO_FLOAT)
  if (groupSize === 0) return at('Mul', [W, wide]) // (…, N, 1)
  const ones = Array.from({ length: leading + 1 }, () => 1)
  const repeated = at('Expand', [at('Unsqueeze', [wide, outer.ints(leading + 1)]), outer.ints(...ones, groupSize)])
  const shape = at('Slice', [at('Shape', [scales]), outer.ints(0), outer.ints(leading)])
  const perInput = at('Reshape', [repeated, at('Concat', [shape, outer.ints(-1)], ON_AXIS_0)])
  return at('Mul', [W, at('Slice', [perInput, outer.ints(0), inputs, outer.ints(leading)])])
}

/** The attributes that every integer product carries. */
export function gridAttributes({ bits, groupSize }: Grid): Attributes {
  // Level 4 lets a kernel round x to int8, as com.microsoft.MatMulNBits does; the function bodies never do.
  return { bits: int(bits), group_size: int(groupSize), accuracy_level: int(4) }
}

function signedNibble(bits: number): number {
  return ((bits & 15) << 28) >> 28
}
