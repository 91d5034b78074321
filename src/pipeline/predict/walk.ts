import { InterruptedError } from '../../errors.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import type { Model } from '../../formats/onnx/types.ts'
import { downProjectionModel } from '../../graph/down.ts'
import { attentionModel, embedModel, gatedIntermediateModel } from '../../graph/models.ts'
import type { OpenedModel } from '../../model/open.ts'
import type { Session, Tensor } from '../../runtime/session.ts'
import { createSession } from '../../runtime/session.ts'
import type { WindowIds } from '../../verify/hidden.ts'

/** Some whole windows on their way through one FF layer. */
export type FfChunk = {
  readonly layer: number
  /** The first window and how many there are. */
  readonly firstWindow: number
  readonly windows: number
  /** FF inputs (windows · T, d). */
  readonly x: Float32Array
  /** Intermediates (windows · T, ff), the input of the down projection: may be changed in place. */
  readonly z: Float32Array
}

export type Walk = {
  /**
   * Hidden states of whole windows before the final norm, (windows · T, d), with every intermediate passed to `onFf`
   * before it goes on. `from`: hidden states that enter layer `from.layer`, instead of the embedding; they are not
   * changed.
   */
  run(options: WalkOptions): Promise<Float32Array>
  release(): Promise<void>
}
export type WalkOptions = {
  readonly windows: WindowIds
  readonly onFf?: (chunk: FfChunk) => void | Promise<void>
  readonly from?: { readonly layer: number; readonly hidden: Float32Array }
  /** Hears the hidden states that enter each layer; a view that is gone after the call. */
  readonly onHidden?: (layer: number, hidden: Float32Array) => unknown
  readonly signal?: AbortSignal
}

/** Tokens of one run, in whole windows. */
const CHUNK_TOKENS = 2048

type LayerSessions = { readonly attention: Session; readonly intermediate: Session; readonly down: Session }

/**
 * A dense model that can be walked through many times with something done to its intermediates. Sessions of all
 * layers stay open: what contextual sparsity is measured with is the same model over and over.
 */
export async function openWalk(model: OpenedModel, threads: number): Promise<Walk> {
  const sessions: Session[] = []
  const open = async (graph: Model): Promise<Session> => {
    const session = await createSession(encodeModel(graph), { threads, folder: model.dataFolder, takesTurns: true })
    sessions.push(session)
    return session
  }
  const release = async (): Promise<void> => {
    for (const session of sessions) await session.release()
  }
  try {
    const embed = await open(embedModel(model))
    const layers: LayerSessions[] = []
    for (let layer = 0; layer < model.config.layers; layer++)
      layers.push({
        attention: await open(attentionModel(model, layer)),
        intermediate: await open(gatedIntermediateModel(model, layer)),
        down: await open(downProjectionModel(model, layer)),
      })
    return { run: (options) => walk(model, embed, layers, options), release }
  } catch (error) {
    await release()
    throw error
  }
}

async function walk(
  model: OpenedModel,
  embed: Session,
  layers: readonly LayerSessions[],
  { windows, onFf, from, onHidden, signal }: WalkOptions,
): Promise<Float32Array> {
  const { ids, nWindows, sequenceLength: T } = windows
  const hidden = from ? from.hidden.slice() : await embedded(embed, ids, nWindows, T)
  const step = Math.max(1, Math.floor(CHUNK_TOKENS / T))
  for (let layer = from?.layer ?? 0; layer < layers.length; layer++) {
    if (signal?.aborted) throw new InterruptedError('Interrupted while measuring: run the same command again')
    onHidden?.(layer, hidden)
    for (let first = 0; first < nWindows; first += step) {
      const n = Math.min(step, nWindows - first)
      const chunk = { layer, firstWindow: first, windows: n }
      await throughBlock(layers[layer]!, hidden, chunk, T, model.config.hidden, onFf)
    }
  }
  return hidden
}

async function embedded(session: Session, ids: Int32Array, B: number, T: number): Promise<Float32Array> {
  const outputs = await session.run({
    input_ids: { type: 'int64', dims: [B, T], data: BigInt64Array.from(ids, BigInt) },
  })
  return floats(outputs['hidden']).slice()
}

/** hidden += attention, then += down(z), for some windows. */
async function throughBlock(
  { attention, intermediate, down }: LayerSessions,
  hidden: Float32Array,
  chunk: { readonly layer: number; readonly firstWindow: number; readonly windows: number },
  T: number,
  d: number,
  onFf: WalkOptions['onFf'],
): Promise<void> {
  const start = chunk.firstWindow * T * d
  const rows = chunk.windows * T
  const part = hidden.subarray(start, start + rows * d)
  const attended = await attention.run({ hidden: { type: 'float32', dims: [chunk.windows, T, d], data: part } })
  part.set(floats(attended['residual']))
  const x = floats(attended['ffn_in'])
  const z = floats((await intermediate.run({ x: { type: 'float32', dims: [rows, d], data: x } }))['down_in'])
  await onFf?.({ ...chunk, x, z })
  const y = await down.run({ down_in: { type: 'float32', dims: [rows, z.length / rows], data: z } })
  const out = floats(y['ffn_out'])
  for (let i = 0; i < part.length; i++) part[i] += out[i]
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.type !== 'float32') throw new TypeError(`Expected a float32 output, got ${tensor?.type}`)
  return tensor.data
}
