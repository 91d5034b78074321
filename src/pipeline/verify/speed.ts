import { UsageError } from '../../errors.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import { readConfig } from '../../model/config.ts'
import { measureBandwidth } from '../../verify/bandwidth.ts'
import { tokenBytes } from '../../verify/bytes.ts'
import { decodeExpert } from '../../verify/decode.ts'
import type { Product } from '../../verify/ff-layers.ts'
import { measureFf } from '../../verify/speed-ff.ts'
import { measureModel } from '../../verify/speed-model.ts'
import type { DenseWeights } from '../../verify/submodel.ts'
import { denseTwin } from '../../verify/submodel.ts'
import type { DecoderSource } from '../open-decoder.ts'
import { denseDecoder } from '../open-decoder.ts'
import type { SpeedReport, Tell, Verification } from './types.ts'

const PROMPT_TOKENS = 512
const WARM_UP = 2
/** Dense f32 FF weights that a graph may carry inside it. */
const TWIN_BYTES = 1.5 * 2 ** 30

/** What the sparse form is timed against: weights of the FF layers, and the whole model where it can be had. */
type DenseSide = {
  readonly what: string
  readonly weights: DenseWeights
  readonly decoder?: Omit<DecoderSource, 'kind'>
  readonly note?: string
}

/** Times the FF layers and the whole model, sparse against dense in turns, beside what memory can do. */
export async function speedReport(verification: Verification, tell: Tell): Promise<SpeedReport> {
  const { options, source, layers, store, windows, provider, threads } = verification
  const rounds = options.rounds ?? 15
  const promptRounds = Math.max(3, Math.ceil(rounds / 3))
  const side = denseSide(verification)
  const ids = [...windows.ids]
  const promptTokens = promptLength(verification, ids.length, rounds)
  const total = 2 * (rounds + WARM_UP) + (side.decoder ? rounds + WARM_UP + promptRounds + 1 : 0)
  let done = 0
  const onRound = (): void => tell('time', ++done, total, 'sparse and dense in turns')
  const common = { provider, threads, rounds, warmUp: WARM_UP, now: () => performance.now(), onRound }
  const bandwidth = measureBandwidth(threads)
  const ff = await measureFf({
    ...common,
    graph: source.graph,
    folder: source.folder,
    layers,
    weights: side.weights,
    windows,
  })
  const model = side.decoder
    ? await measureModel({ ...common, sparse: source, dense: side.decoder, ids, promptTokens, promptRounds })
    : undefined
  const bytesPerToken = tokenBytes(source.graph, layers, store)
  const share = (bytes: number, ms: number): number =>
    (bytes * ff.layers) / ff.ofLayers / (ms / 1000) / ('bytesPerSecond' in bandwidth ? bandwidth.bytesPerSecond : 1)
  return {
    dense: side.what,
    ff,
    ...(model ? { model } : {}),
    ...(side.note === undefined ? {} : { modelNote: side.note }),
    bytesPerToken,
    bandwidth,
    ...('bytesPerSecond' in bandwidth
      ? {
          bandwidthShare: {
            sparse: share(bytesPerToken.ffSparse, ff.oneToken.sparse.medianMs),
            dense: share(bytesPerToken.ffDense, ff.oneToken.dense.medianMs),
          },
        }
      : {}),
  }
}

function denseSide({ dense, artifact, source, layers, store }: Verification): DenseSide {
  if ('model' in dense) {
    const { model } = dense
    return {
      what: `the source model, ${artifact.manifest.source.name}`,
      weights: ({ base }: Product) => model.weights.readF32(base.replace(/\.experts$/, '.weight')),
      decoder: denseDecoder(model.folder),
    }
  }
  const what = 'the same graph with the decoded weights of expert 0 as dense matrices'
  const weights: DenseWeights = ({ base, inputs }) => decodeExpert(store, base, 0, inputs)
  const bytes = tokenBytes(source.graph, layers, store).ffDense
  if (bytes > TWIN_BYTES)
    return {
      what,
      weights,
      note: `the whole model was not timed: its dense FF weights take ${bytes} bytes: give --dense`,
    }
  const graph = denseTwin(source.graph, layers, weights)
  return { what, weights, decoder: { graph, source: encodeModel(graph), folder: source.folder } }
}

/** Tokens of the timed prompt, so that the steps behind it still fit into the text and the positions of the model. */
function promptLength({ options }: Verification, tokens: number, rounds: number): number {
  const behind = rounds + WARM_UP
  const { maxPositions } = readConfig(options.model)
  const length = Math.min(PROMPT_TOKENS, maxPositions - behind, tokens - behind)
  if (length < 1)
    throw new UsageError(
      `Cannot time ${rounds} steps on ${tokens} tokens of text and ${maxPositions} positions: give more text or fewer --rounds`,
    )
  return length
}
