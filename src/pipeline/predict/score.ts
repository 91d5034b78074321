import { SolverError } from '../../errors.ts'
import type { Model } from '../../formats/onnx/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import { QualitySums } from '../../verify/quality.ts'
import { createScorer } from '../../verify/score.ts'
import { splitBeforeHead } from '../../verify/split.ts'
import { denseDecoderModel } from '../../../export/onnx.ts'
import { TOOL_VERSION } from '../../version.ts'
import type { EvaluationWindows } from '../../verify/evaluate.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import type { Quality } from '../types.ts'

/** Scores of hidden states against those of the dense model, on the targets behind a prompt. */
export type TailScorer = {
  /** hidden, dense (windows · T, d): targets are the tokens prompt + 1 … T − 1 of every window. */
  quality(hidden: Float32Array, dense: Float32Array): Promise<Quality>
  /** The same with the share of targets that are the most likely token. */
  scores(hidden: Float32Array, dense: Float32Array): Promise<TailScores>
  release(): Promise<void>
}
export type TailScores = { readonly quality: Quality; readonly accuracy: number }

/**
 * Opens the head of a dense model for windows whose first `prompt` tokens are read and not predicted. Position prompt
 * − 1, which predicts the first token after the prompt, is dense in GRIFFIN and not counted.
 */
export function openTailScorer(
  model: OpenedModel,
  windows: EvaluationWindows,
  prompt: number,
  threads: number,
): Promise<TailScorer> {
  const graph = denseDecoderModel(model, TOOL_VERSION)
  return openGraphScorer({ graph, folder: model.dataFolder }, windows, prompt, threads)
}

/** The same with the head of any decoder graph, whose external data lie in `folder`. */
export async function openGraphScorer(
  { graph, folder }: { readonly graph: Model; readonly folder: string },
  windows: WindowIds,
  prompt: number,
  threads: number,
): Promise<TailScorer> {
  const { head } = splitBeforeHead(graph, `the graph of ${folder}`)
  const scorer = await createScorer(graph, head, { folder, threads, withDense: true })
  const { ids, nWindows, sequenceLength: T } = windows
  const perWindow = T - prompt - 1
  const targets = BigInt64Array.from({ length: nWindows * perWindow }, (_, i) =>
    BigInt(ids[Math.floor(i / perWindow) * T + prompt + 1 + (i % perWindow)]!),
  )
  const tails = (hidden: Float32Array): Float32Array => {
    const d = hidden.length / (nWindows * T)
    const rows = new Float32Array(targets.length * d)
    for (let w = 0; w < nWindows; w++)
      rows.set(hidden.subarray((w * T + prompt) * d, (w * T + T - 1) * d), w * perWindow * d)
    return rows
  }
  const scored = async (hidden: Float32Array, dense: Float32Array): Promise<TailScores> => {
    const scores = await scorer.score(tails(hidden), targets, tails(dense))
    const sums = new QualitySums()
    let hits = 0
    for (let i = 0; i < targets.length; i++) {
      if (Number.isNaN(scores.nll[i])) throw new SolverError('Cannot measure quality: the model gives NaN')
      sums.add(Math.floor(i / perWindow), scores, i)
      hits += scores.dense!.hits[i]!
    }
    return { quality: sums.quality(), accuracy: hits / targets.length }
  }
  return {
    scores: scored,
    quality: async (hidden, dense) => (await scored(hidden, dense)).quality,
    release: () => scorer.release(),
  }
}
