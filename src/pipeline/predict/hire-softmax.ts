import { InterruptedError } from '../../errors.ts'
import { headProduct } from '../../../export/hire-graph.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import type { Model } from '../../formats/onnx/types.ts'
import { createGram } from '../../linalg/gram.ts'
import { inputRoot } from '../../predict/low-rank.ts'
import type { HirePredictor, HireSoftmax, StoredPredictor } from '../../predict/predictor.ts'
import { predictorBytes } from '../../predict/predictor.ts'
import { RankRecall } from '../../predict/rank-recall.ts'
import { createSession } from '../../runtime/session.ts'
import type { Blas } from '../../tensor/blas.ts'
import type { Mat } from '../../tensor/mat.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import { feedsOf } from '../../verify/hidden.ts'
import { ancestors, initializersOf } from '../../verify/split.ts'
import { recallTable } from './hire-choose.ts'
import type { ShardRow } from './hire-shards.ts'
import { shardTable } from './hire-shards.ts'
import { makePredictors, throughChain } from './hire-predictors.ts'
import type { HireCandidate } from './hire-types.ts'

/** Rows of logits that are compared at a time. */
const ROWS = 64
/** Tokens that DA-TOP-k is simulated on. */
const SHARDED = 16

export type SoftmaxChoice = {
  readonly softmax: HireSoftmax
  readonly stored: StoredPredictor
  readonly candidates: readonly HireCandidate[]
  /** DA-TOP-k of the k largest exact logits, on some tokens of the choosing text. */
  readonly shards: readonly ShardRow[]
}

/** What enters the head of a decoder graph on some windows, (tokens, d): behind the final norm. */
export async function headInputs(
  decoder: Model,
  folder: string,
  windows: WindowIds,
  { threads, signal }: { readonly threads: number; readonly signal?: AbortSignal },
): Promise<Float32Array> {
  const { graph } = decoder
  const { node, inputs } = headProduct(graph)
  const name = node.input[0]!
  const producers = new Map(graph.node.flatMap((one) => one.output.map((output) => [output, one] as const)))
  const nodes = ancestors(graph, producers, [name], new Set())
  const body: Model = {
    ...decoder,
    graph: {
      ...graph,
      node: nodes,
      initializer: initializersOf(graph, nodes),
      output: [{ name, type: 'float', shape: ['tokens', inputs] }],
    },
  }
  const session = await createSession(encodeModel(body), { threads, folder })
  const { nWindows, sequenceLength } = windows
  const rows = new Float32Array(nWindows * sequenceLength * inputs)
  try {
    for (let w = 0; w < nWindows; w++) {
      if (signal?.aborted) throw new InterruptedError('Interrupted while calibrating: run the same command again')
      const results = await session.run(feedsOf(graph.input, windows, w, w + 1), [name])
      rows.set(results[name]!.data as Float32Array, w * sequenceLength * inputs)
    }
  } finally {
    await session.release()
  }
  return rows
}

/**
 * Predictors of the head W (vocab, d) from inputs of a calibration text, and the choice among them by recall of the k
 * largest logits on another: the form that reads the fewest bytes a token.
 */
export async function chooseSoftmax(
  blas: Blas,
  W: Mat,
  inputs: { readonly calibration: Float32Array; readonly choosing: Float32Array },
  options: {
    readonly forms: readonly HirePredictor[]
    readonly k: number
    readonly recall: number
    readonly bytesPerWeight: number
  },
): Promise<SoftmaxChoice> {
  const { forms, k, recall, bytesPerWeight } = options
  const root = forms.some(({ kind }) => kind === 'lr')
    ? inputRoot(await moments(blas, inputs.calibration, W.cols), W.cols)
    : undefined
  const made = await makePredictors(blas, W, root, forms)
  const meters = forms.map(() => new RankRecall(W.rows, k))
  const { choosing } = inputs
  const sharded: Float32Array[] = []
  for (let at = 0; at < choosing.length; at += ROWS * W.cols) {
    const x = choosing.subarray(at, Math.min(at + ROWS * W.cols, choosing.length))
    const exact = await throughChain(blas, [W], x)
    for (let row = 0; row < exact.length && sharded.length < SHARDED; row += W.rows)
      sharded.push(exact.slice(row, row + W.rows))
    for (const [i, { chain }] of made.entries()) meters[i]!.add(exact, await throughChain(blas, chain, x))
  }
  const candidates = forms.map((predictor, i): HireCandidate => {
    const kPrime = meters[i]!.smallest(recall, Math.min(8, W.rows))
    const bytes = predictorBytes(predictor, W.rows, W.cols) + kPrime * W.cols * bytesPerWeight
    return { where: 'softmax', predictor, kPrime, bytes, recall: recallTable(meters[i]!) }
  })
  const best = candidates.reduce((least, one, i) => (one.bytes < candidates[least]!.bytes ? i : least), 0)
  const { predictor, kPrime } = candidates[best]!
  return {
    softmax: { predictor, k, kPrime, recall: meters[best]!.at(kPrime) },
    stored: made[best]!.stored,
    candidates,
    shards: shardTable(sharded, k),
  }
}

async function moments(blas: Blas, rows: Float32Array, d: number): Promise<Float32Array> {
  const sum = createGram(blas, d)
  await sum.add(rows)
  const S = await sum.finish()
  return S.map((value) => value / (rows.length / d))
}
