import { FormatError, InterruptedError, SolverError, UsageError } from '../errors.ts'
import type { Model } from '../formats/onnx/types.ts'
import type { Quality } from '../pipeline/types.ts'
import type { Provider } from '../runtime/session.ts'
import { openArtifact, readGraph } from './artifact.ts'
import type { HiddenSource, WindowIds } from './hidden.ts'
import { graphHiddenSource } from './hidden.ts'
import { QualitySums } from './quality.ts'
import type { Scorer } from './score.ts'
import { createScorer } from './score.ts'
import { splitBeforeHead } from './split.ts'

/** Evaluation text as tokens: position i of a window predicts token i + 1, whose domain counts. */
export type EvaluationWindows = WindowIds & {
  /** Index into `domainNames` for every token. */
  readonly domains: Uint16Array
  readonly domainNames: readonly string[]
}

export type GraphEvaluation = {
  /** The decoder graph, with its external data in `folder`. */
  readonly graph: Model
  readonly folder: string
  readonly windows: EvaluationWindows
  /**
   * Hidden states of the dense model, for KL and agreement. Its head is taken to be the graph's own, which compression
   * leaves as it is: give only the model that the artifact was made from.
   */
  readonly dense?: HiddenSource
  /** A graph of the same folder whose head is the dense one, where the graph's own is not. @default the graph */
  readonly denseHead?: Model
  readonly threads: number
  /** What computes the body of the graph; the head, which compression leaves as it is, is always computed by 'cpu'. @default 'cpu' */
  readonly provider?: Provider
  /** Bytes of one intermediate (tokens, ff) of a run; every run decodes the experts anew. @default 50e6 */
  readonly activationBytes?: number
  /** Bytes of one array of logits. @default 64e6 */
  readonly logitsBytes?: number
  /** Hears the windows done and in all. */
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

export type GraphQuality = { readonly overall: Quality; readonly domains: Readonly<Record<string, Quality>> }

/** Measures an artifact folder as evaluateGraph() does, after checking that its files are there. */
export async function evaluateArtifact(options: Omit<GraphEvaluation, 'graph'>): Promise<GraphQuality> {
  openArtifact(options.folder)
  return evaluateGraph({ ...options, graph: readGraph(options.folder) })
}

/**
 * Perplexity of a decoder graph on windows of text, over all targets and by domain of the target; with `dense` also
 * KL(dense ‖ graph) and agreement of the top token.
 * Throws FormatError for ids outside the vocabulary, SolverError when the graph gives NaN, InterruptedError after an abort.
 */
export async function evaluateGraph(options: GraphEvaluation): Promise<GraphQuality> {
  const { graph, folder, windows, dense, threads, provider = 'cpu' } = options
  const { head } = splitBeforeHead(graph, `the graph of ${folder}`)
  assertWindows(windows, head.vocab)
  const source = await graphHiddenSource(graph, { folder, threads, provider })
  let scorer: Scorer | undefined
  try {
    scorer = await createScorer(graph, head, {
      folder,
      threads,
      withDense: dense !== undefined,
      ...(options.logitsBytes === undefined ? {} : { logitsBytes: options.logitsBytes }),
      ...(options.denseHead ? { denseHead: splitBeforeHead(options.denseHead, `the graph of ${folder}`).head } : {}),
    })
    return await measure(options, source, scorer, windowsPerRun(graph, head.vocab, options))
  } finally {
    await source.release()
    await scorer?.release()
  }
}

async function measure(
  { windows, dense, onProgress, signal }: GraphEvaluation,
  source: HiddenSource,
  scorer: Scorer,
  perRun: number,
): Promise<GraphQuality> {
  const overall = new QualitySums()
  const domains = windows.domainNames.map(() => new QualitySums())
  const { ids, nWindows, sequenceLength: T } = windows
  for (let first = 0; first < nWindows; first += perRun) {
    if (signal?.aborted) throw new InterruptedError('Interrupted while evaluating: run the same command again')
    const end = Math.min(first + perRun, nWindows)
    const hidden = withoutLast(await source.hidden(windows, first, end), end - first, T)
    const denseHidden = dense && withoutLast(await dense.hidden(windows, first, end), end - first, T)
    const targets = new BigInt64Array((end - first) * (T - 1))
    for (let i = 0; i < targets.length; i++) targets[i] = BigInt(ids[targetAt(first, i, T)]!)
    const scores = await scorer.score(hidden, targets, denseHidden)
    for (let i = 0; i < targets.length; i++) {
      if (Number.isNaN(scores.nll[i]))
        throw new SolverError(`Cannot evaluate: the model gives NaN for window ${first + Math.floor(i / (T - 1))}`)
      const window = first + Math.floor(i / (T - 1))
      overall.add(window, scores, i)
      domains[windows.domains[targetAt(first, i, T)]!]!.add(window, scores, i)
    }
    onProgress?.(end, nWindows)
  }
  const named = domains.map((sums, d) => [windows.domainNames[d]!, sums] as const).filter(([, sums]) => !sums.isEmpty)
  return {
    overall: overall.quality(),
    domains: Object.fromEntries(named.map(([name, sums]) => [name, sums.quality()])),
  }
}

/** Index into the ids of the i-th target of a run that begins at window `first`: every token but the first of a window. */
function targetAt(first: number, i: number, T: number): number {
  const window = Math.floor(i / (T - 1))
  return (first + window) * T + (i - window * (T - 1)) + 1
}

/** (windows · T, d) → (windows · (T − 1), d): the last token of a window predicts nothing. */
function withoutLast(hidden: Float32Array, windows: number, T: number): Float32Array {
  const d = hidden.length / (windows * T)
  const kept = new Float32Array(windows * (T - 1) * d)
  for (let w = 0; w < windows; w++) kept.set(hidden.subarray(w * T * d, ((w + 1) * T - 1) * d), w * (T - 1) * d)
  return kept
}

function assertWindows({ ids, domains, nWindows, sequenceLength }: EvaluationWindows, vocab: number): void {
  if (sequenceLength < 2 || nWindows < 1)
    throw new UsageError(
      `Cannot evaluate ${nWindows} windows of ${sequenceLength} tokens: wanted at least 1 window of 2 tokens`,
    )
  if (ids.length !== nWindows * sequenceLength || domains.length !== ids.length)
    throw new UsageError(
      `Cannot evaluate: got ${ids.length} ids and ${domains.length} domains, wanted ${nWindows * sequenceLength} of each`,
    )
  const bad = ids.findIndex((id) => id < 0 || id >= vocab)
  if (bad >= 0)
    throw new FormatError(
      `Cannot evaluate: token ${bad} has id ${ids[bad]}, the vocabulary has ${vocab}: use the model's own tokenizer`,
    )
}

/** Whole windows of one run, so that its widest intermediate stays within the allowance. */
function windowsPerRun(graph: Model, vocab: number, { windows, activationBytes = 50e6 }: GraphEvaluation): number {
  const sizes = graph.graph.initializer.flatMap(({ dims }) => (dims.length > 1 ? dims : [])).filter((n) => n !== vocab)
  const rowBytes = 4 * sizes.reduce((widest, size) => Math.max(widest, size), 1)
  return Math.max(1, Math.floor(activationBytes / (rowBytes * windows.sequenceLength)))
}
