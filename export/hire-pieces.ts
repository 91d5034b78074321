import type { Graph, StringEntry } from '../src/formats/onnx/types.ts'
import type { ValueName } from '../src/graph/builder.ts'
import type { Activation } from '../src/model/config.ts'
import { activated } from '../src/graph/pieces.ts'
import { GraphBuilder } from '../src/graph/builder.ts'
import type { HireLayer, HirePredictor, HireSoftmax } from '../src/predict/predictor.ts'
import type { Attributes } from './attributes.ts'
import { int } from './attributes.ts'
import { OPERATOR_DOMAIN } from './functions.ts'
import { NEURON_SUBSET_FFN } from './neuron-subset.ts'
import type { PlaceOf } from './weights.ts'
import { asFloat, linear, stored } from './weights.ts'

/** Selected neurons: all k' are kept, or after the exact products only the k largest of them. */
export type HireKeep = 'all' | 'k'

/** One product of the dense graph that HiRE stands in for: `W` as f32, and by its stored name. */
export type DenseProduct = {
  readonly W: ValueName
  readonly name: ValueName
  readonly inputs: number
  readonly outputs: number
  /** Stored (in, out). @default false */
  readonly isTransposed?: boolean
  /** Added behind the product, as f32. */
  readonly bias?: ValueName
}

export type HireFfn = {
  readonly path: string
  /** Tensors of this layer: `${base}.gate.U`, … */
  readonly base: string
  readonly x: ValueName
  readonly y: ValueName
  /** Absent in layers without a gate. */
  readonly gate?: DenseProduct
  readonly up: DenseProduct
  readonly down: DenseProduct
  readonly activation: Activation
  readonly form: HireLayer
  readonly keep: HireKeep
  readonly metadata: StringEntry[]
}

/** On the last axis, in any order: what is selected is a set. */
const UNSORTED: Attributes = { axis: int(-1), largest: int(1), sorted: int(0) }
const ON_LAST_AXIS: Attributes = { axis: int(-1) }

/**
 * An FF layer over the k' neurons that are predicted to count (HiRE, arXiv 2402.09360), x (T, d) → y (T, d):
 *
 *   x ── predictor of gate, of up ── |act · up| ── TopK k' ── idx ──┐
 *   x ── If T = 1: NeuronSubsetFFN ◄────────────────────────────────┤
 *           else:  dense layer with the others of each token set to 0 ◄┘
 *
 * What that operator does not know (no gate, other non-linearities, biases) gathers rows by standard operators.
 */
export function hireFeedForward(b: GraphBuilder, place: PlaceOf, ffn: HireFfn): void {
  const { path, base, x, form } = ffn
  const at = (op: string, inputs: readonly ValueName[], attributes: Attributes = {}): ValueName =>
    b.node(`${path}/predict`, op, inputs, attributes)
  const gate = ffn.gate && predicted(b, place, `${path}/predict/gate`, `${base}.gate`, form.predictor, x, ffn.gate)
  const up = predicted(b, place, `${path}/predict/up`, `${base}.up`, form.predictor, x, ffn.up)
  let scores = at('Abs', [activated(b, `${path}/predict`, ffn.activation, gate, up)])
  if (form.always > 0) scores = at('Add', [scores, stored(b, place, `${base}.bonus`)])
  if (form.group > 1) {
    const grouped = at('Reshape', [scores, b.ints(0, -1, form.group)])
    scores = at('ReduceSumSquare', [grouped, b.ints(2)], { keepdims: int(0) })
  }
  const picked = b.nodeOutputs(`${path}/select`, 'TopK', [scores, b.ints(form.kPrime / form.group)], UNSORTED, {
    outputs: 2,
    metadata: ffn.metadata,
  })[1]!
  // The subset operator gives no intermediates to cut: that form serves comparison, not speed.
  if (ffn.keep === 'k')
    b.node(`${path}/output`, 'Identity', [maskedNodes(b, b, ffn, picked, scores)], {}, { outputs: [ffn.y] })
  else
    conditional(b, path, x, {
      one: subsetBranch(b, place, ffn, picked),
      several: branch(`${path}/masked`, (inner) => maskedNodes(b, inner, ffn, picked, scores)),
      output: ffn.y,
    })
}

/** Logits of `x` (T, d): those of the k' rows of the head that are predicted highest are exact, the others predicted. */
export function hireHead(
  b: GraphBuilder,
  place: PlaceOf,
  head: {
    readonly path: string
    readonly base: string
    readonly x: ValueName
    readonly logits: ValueName
    readonly product: DenseProduct
    readonly form: HireSoftmax
    readonly metadata: StringEntry[]
  },
): void {
  const { path, base, x, product, form } = head
  const guess = predicted(b, place, `${path}/predict`, base, form.predictor, x, product)
  const picked = b.nodeOutputs(`${path}/select`, 'TopK', [guess, b.ints(form.kPrime)], UNSORTED, {
    outputs: 2,
    metadata: head.metadata,
  })[1]!
  const flat = b.ints(-1)
  const one = branch(`${path}/subset`, (inner, at) => {
    const exact = gathered(inner, at, x, product, inner.node(at, 'Reshape', [picked, flat]))
    return inner.node(at, 'ScatterElements', [guess, picked, exact], ON_LAST_AXIS)
  })
  const several = branch(`${path}/masked`, (inner, at) => {
    const exact = inner.node(at, 'GatherElements', [whole(inner, at, x, product), picked], ON_LAST_AXIS)
    return inner.node(at, 'ScatterElements', [guess, picked, exact], ON_LAST_AXIS)
  })
  conditional(b, path, x, { one, several, output: head.logits })
}

/** W x by a predictor of W. */
function predicted(
  b: GraphBuilder,
  place: PlaceOf,
  path: string,
  base: string,
  predictor: HirePredictor,
  x: ValueName,
  { inputs, outputs, bias }: DenseProduct,
): ValueName {
  if (predictor.kind === 'lr')
    return linear(
      b,
      `${path}/U`,
      linear(b, `${path}/V`, x, asFloat(b, place, `${base}.V`)),
      asFloat(b, place, `${base}.U`),
      bias,
    )
  const attributes: Attributes = {
    K: int(inputs),
    N: int(outputs),
    bits: int(predictor.bits),
    block_size: int(predictor.groupSize),
    // x may be rounded to int8: only the order of the results matters.
    accuracy_level: int(4),
  }
  const weights = [stored(b, place, `${base}.numbers`), asFloat(b, place, `${base}.scales`)]
  const product = b.node(path, 'MatMulNBits', [x, ...weights], attributes, { domain: 'com.microsoft' })
  return bias === undefined ? product : b.node(path, 'Add', [product, bias])
}

/** The dense product with its bias, x (T, in) → (T, out). */
function whole(
  b: GraphBuilder,
  path: string,
  x: ValueName,
  { W, bias, isTransposed = false }: DenseProduct,
): ValueName {
  return b.node(path, 'Gemm', [x, W, ...(bias ? [bias] : [])], { transB: int(isTransposed ? 0 : 1) })
}

/** Some outputs of it alone: only those weights are widened. */
function gathered(
  b: GraphBuilder,
  path: string,
  x: ValueName,
  { name, bias, isTransposed = false }: DenseProduct,
  idx: ValueName,
): ValueName {
  const rows = b.node(path, 'Gather', [name, idx], { axis: int(isTransposed ? 1 : 0) })
  const own = bias === undefined ? [] : [b.node(path, 'Gather', [bias, idx])]
  return b.node(path, 'Gemm', [x, b.node(path, 'Cast', [rows], { to: int(1) }), ...own], {
    transB: int(isTransposed ? 0 : 1),
  })
}

/** If T = 1, else: two graphs of one output each. */
function conditional(
  b: GraphBuilder,
  path: string,
  x: ValueName,
  { one, several, output }: { readonly one: Graph; readonly several: Graph; readonly output: ValueName },
): void {
  const tokens = b.node(path, 'Shape', [x], { start: int(0), end: int(1) })
  const branches: Attributes = { then_branch: { type: 'graph', g: one }, else_branch: { type: 'graph', g: several } }
  b.node(path, 'If', [b.node(path, 'Equal', [tokens, b.ints(1)])], branches, { outputs: [output] })
}

function branch(path: string, build: (inner: GraphBuilder, path: string) => ValueName): Graph {
  const inner = new GraphBuilder()
  inner.output(build(inner, path), 'float', ['', ''])
  return inner.graph(path)
}

/** Whether NeuronSubsetFFN computes such a layer: silu(gate x) · up x without biases. */
export function isOperatorForm({
  gate,
  up,
  down,
  activation,
}: Pick<HireFfn, 'gate' | 'up' | 'down' | 'activation'>): boolean {
  return (
    gate !== undefined &&
    activation === 'silu' &&
    ![gate, up, down].some(({ bias, isTransposed }) => bias || isTransposed)
  )
}

/** Constants belong to the outer graph, as everything a branch reads: names of both graphs are one set. */
function subsetBranch(b: GraphBuilder, place: PlaceOf, ffn: HireFfn, picked: ValueName): Graph {
  const { base, x, form, gate, up } = ffn
  const down = stored(b, place, `${base}.down`)
  const flat = b.ints(-1)
  const column = b.ints(-1, 1)
  const size = b.ints(form.group)
  const within = b.ints(...Array.from({ length: form.group }, (_, i) => i))
  return branch(`${ffn.path}/subset`, (inner, at) => {
    const members =
      form.group === 1
        ? picked
        : inner.node(at, 'Add', [inner.node(at, 'Mul', [inner.node(at, 'Reshape', [picked, column]), size]), within])
    const idx = inner.node(at, 'Reshape', [members, flat])
    if (!isOperatorForm(ffn)) {
      const g = gate && gathered(inner, `${at}/gate`, x, gate, idx)
      const z = activated(inner, at, ffn.activation, g, gathered(inner, `${at}/up`, x, up, idx))
      const rows = inner.node(`${at}/down`, 'Cast', [inner.node(`${at}/down`, 'Gather', [down, idx])], { to: int(1) })
      return inner.node(`${at}/down`, 'Gemm', [z, rows, ...(ffn.down.bias ? [ffn.down.bias] : [])])
    }
    return inner.node(
      at,
      NEURON_SUBSET_FFN,
      [x, idx, gate!.name, up.name, down],
      { activation: { type: 'string', s: 'silu' } },
      { domain: OPERATOR_DOMAIN },
    )
  })
}

function maskedNodes(
  outer: GraphBuilder,
  b: GraphBuilder,
  ffn: HireFfn,
  picked: ValueName,
  scores: ValueName,
): ValueName {
  const { x, form, gate, up, down, keep } = ffn
  const path = `${ffn.path}/masked`
  const at = (op: string, inputs: readonly ValueName[], attributes: Attributes = {}): ValueName =>
    b.node(path, op, inputs, attributes)
  const [one, last] = [outer.constant('float', [], [1]), outer.ints(-1)]
  const wholeRows = outer.ints(0, down.inputs)
  const groupOf = outer.ints(1, 1, form.group)
  const mask = (shape: ValueName, chosen: ValueName): ValueName =>
    at(
      'ScatterElements',
      [at('ConstantOfShape', [at('Shape', [shape])]), chosen, at('Expand', [one, at('Shape', [chosen])])],
      ON_LAST_AXIS,
    )
  let kept = mask(scores, picked)
  if (form.group > 1) kept = at('Reshape', [at('Tile', [at('Unsqueeze', [kept, last]), groupOf]), wholeRows])
  const g = gate && whole(b, `${path}/gate`, x, gate)
  const z = activated(b, path, ffn.activation, g, whole(b, `${path}/up`, x, up))
  let selected = at('Mul', [z, kept])
  if (keep === 'k') {
    const k = outer.ints(form.k)
    const largest = b.nodeOutputs(`${path}/cut`, 'TopK', [at('Abs', [selected]), k], UNSORTED, { outputs: 2 })[1]!
    selected = at('Mul', [selected, mask(z, largest)])
  }
  return whole(b, `${path}/down`, selected, down)
}
