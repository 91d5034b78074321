import { encodeModel } from '../formats/onnx/encode.ts'
import type { Attribute, Model, Node, TensorProto, ValueInfo } from '../formats/onnx/types.ts'
import type { Session } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'
import type { Head } from './split.ts'

/** What is kept of one row of logits. */
export type Scores = {
  /** −log p(target), nats. */
  readonly nll: Float32Array
  /** The same of the dense model, KL(dense ‖ model) in nats, and whether both have the same top token (1 or 0). */
  readonly dense?: {
    readonly nll: Float32Array
    readonly kl: Float32Array
    readonly agrees: Uint8Array
    /** Whether the target is the model's top token. */
    readonly hits: Uint8Array
  }
}

/** Computes scores of hidden states, a bounded number of rows of logits at a time. */
export type Scorer = {
  /** hidden, denseHidden (n, d) · targets (n) */
  score(hidden: Float32Array, targets: BigInt64Array, denseHidden?: Float32Array): Promise<Scores>
  release(): Promise<void>
}

/**
 * The head as a graph that gives scores instead of logits: nothing as wide as the vocabulary leaves onnxruntime. Both
 * models share the head, so their rows go through it stacked; unless the dense model's is given, in the same folder.
 *
 *   hidden ────────┬ Concat ── head ── LogSoftmax ── Split ── log p, log q
 *   dense_hidden ──┘
 *   nll = −log p[target] · kl = Σ q (log q − log p) · agrees = (arg max p = arg max q) · hits = (arg max p = target)
 */
export async function createScorer(
  original: Model,
  head: Head,
  options: {
    readonly folder: string
    readonly threads: number
    readonly withDense: boolean
    readonly denseHead?: Head
    /** Bytes of logits that exist at a time; a few arrays of this size are alive in the graph. @default 64e6 */
    readonly logitsBytes?: number
  },
): Promise<Scorer> {
  const { folder, threads, withDense, denseHead, logitsBytes = 64e6 } = options
  const graph = scoreModel(original, head, withDense, denseHead)
  const session = await createSession(encodeModel(graph), { threads, folder })
  const rowsPerRun = Math.max(1, Math.floor(logitsBytes / (4 * head.vocab * (withDense ? 2 : 1))))
  return {
    score: (hidden, targets, denseHidden) => scoreInPieces(session, rowsPerRun, hidden, targets, denseHidden),
    release: () => session.release(),
  }
}

async function scoreInPieces(
  session: Session,
  rowsPerRun: number,
  hidden: Float32Array,
  targets: BigInt64Array,
  denseHidden: Float32Array | undefined,
): Promise<Scores> {
  const rows = targets.length
  const width = hidden.length / rows
  const nll = new Float32Array(rows)
  const dense = {
    nll: new Float32Array(rows),
    kl: new Float32Array(rows),
    agrees: new Uint8Array(rows),
    hits: new Uint8Array(rows),
  }
  for (let at = 0; at < rows; at += rowsPerRun) {
    const end = Math.min(at + rowsPerRun, rows)
    const matrix = (data: Float32Array): { type: 'float32'; dims: number[]; data: Float32Array } => ({
      type: 'float32',
      dims: [end - at, width],
      data: data.subarray(at * width, end * width),
    })
    const results = await session.run({
      hidden: matrix(hidden),
      targets: { type: 'int64', dims: [end - at, 1], data: targets.subarray(at, end) },
      ...(denseHidden ? { dense_hidden: matrix(denseHidden) } : {}),
    })
    nll.set(results['nll']!.data as Float32Array, at)
    if (!denseHidden) continue
    dense.nll.set(results['dense_nll']!.data as Float32Array, at)
    dense.kl.set(results['kl']!.data as Float32Array, at)
    dense.agrees.set(results['agrees']!.data as Uint8Array, at)
    dense.hits.set(results['hits']!.data as Uint8Array, at)
  }
  return denseHidden ? { nll, dense } : { nll }
}

function scoreModel(original: Model, head: Head, withDense: boolean, denseHead: Head | undefined): Model {
  const own = withDense ? denseHead : undefined
  const isStacked = withDense && !own
  const rows = isStacked
    ? [node('Concat', ['hidden', 'dense_hidden'], [head.input], [int('axis', 0)])]
    : [node('Identity', ['hidden'], [head.input])]
  const held = new Set(head.initializers.map(({ name }) => name))
  const vectors = withDense ? ['nll', 'dense_nll', 'kl'] : ['nll']
  return {
    ...original,
    functions: [],
    metadataProps: [],
    graph: {
      name: 'score',
      node: [
        ...rows,
        ...head.nodes,
        ...(own ? [node('Identity', ['dense_hidden'], [`dense/${own.input}`]), ...renamed(own)] : []),
        ...(withDense ? comparison(head.output, own?.output) : negativeLogLikelihood(head.output)),
      ],
      initializer: [
        ...head.initializers,
        ...(own?.initializers.filter(({ name }) => !held.has(name)) ?? []),
        lastAxis(),
      ],
      input: [
        floats('hidden', ['rows', '']),
        { name: 'targets', type: 'int64', shape: ['rows', 1] },
        ...(withDense ? [floats('dense_hidden', ['rows', ''])] : []),
      ],
      output: [
        ...vectors.map((name) => floats(name, ['rows'])),
        ...(withDense ? ['agrees', 'hits'] : []).map((name): ValueInfo => ({ name, type: 'bool', shape: ['rows'] })),
      ],
      valueInfo: [],
    },
  }
}

function negativeLogLikelihood(logits: string): Node[] {
  return [node('LogSoftmax', [logits], ['log_p'], [int('axis', -1)]), ...gathered('log_p', 'nll')]
}

/** The nodes of a second head: both graphs may use the same names, so every value in it gets another. */
function renamed({ nodes, input }: Head): Node[] {
  const inner = new Set([input, ...nodes.flatMap(({ output }) => output)])
  const rename = (name: string): string => (inner.has(name) ? `dense/${name}` : name)
  return nodes.map((one) => ({
    ...one,
    name: `dense/${one.name}`,
    input: one.input.map(rename),
    output: one.output.map(rename),
  }))
}

function comparison(logits: string, denseLogits: string | undefined): Node[] {
  const both =
    denseLogits === undefined
      ? [
          node('LogSoftmax', [logits], ['log_both'], [int('axis', -1)]),
          node('Split', ['log_both'], ['log_p', 'log_q'], [int('axis', 0), int('num_outputs', 2)]),
        ]
      : [
          node('LogSoftmax', [logits], ['log_p'], [int('axis', -1)]),
          node('LogSoftmax', [`dense/${denseLogits}`], ['log_q'], [int('axis', -1)]),
        ]
  return [
    ...both,
    ...gathered('log_p', 'nll'),
    ...gathered('log_q', 'dense_nll'),
    node('Sub', ['log_q', 'log_p'], ['log_ratio']),
    node('Exp', ['log_q'], ['q']),
    node('Mul', ['q', 'log_ratio'], ['kl_terms']),
    node('ReduceSum', ['kl_terms', 'last_axis'], ['kl'], [int('keepdims', 0)]),
    node('ArgMax', ['log_p'], ['top_p'], [int('axis', -1), int('keepdims', 0)]),
    node('ArgMax', ['log_q'], ['top_q'], [int('axis', -1), int('keepdims', 0)]),
    node('Equal', ['top_p', 'top_q'], ['agrees']),
    node('Squeeze', ['targets', 'last_axis'], ['target_row']),
    node('Equal', ['top_p', 'target_row'], ['hits']),
  ]
}

/** −logs[target] of each row. */
function gathered(logs: string, out: string): Node[] {
  return [
    node('GatherElements', [logs, 'targets'], [`${out}_column`], [int('axis', -1)]),
    node('Squeeze', [`${out}_column`, 'last_axis'], [`${out}_row`]),
    node('Neg', [`${out}_row`], [out]),
  ]
}

function node(opType: string, input: string[], output: string[], attribute: Attribute[] = []): Node {
  return { name: `score/${output[0]}`, opType, domain: '', input, output, attribute }
}

function int(name: string, i: number): Attribute {
  return { name, type: 'int', i }
}

function floats(name: string, shape: (number | string)[]): ValueInfo {
  return { name, type: 'float', shape }
}

function lastAxis(): TensorProto {
  return { name: 'last_axis', type: 'int64', dims: [1], rawData: new Uint8Array(BigInt64Array.of(-1n).buffer) }
}
