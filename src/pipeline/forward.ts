import { ShapeError, UsageError } from '../errors.ts'
import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import { attentionModel, denseFfnModel, embedModel, headModel } from '../graph/models.ts'
import type { OpenedModel } from '../model/open.ts'
import type { Session, Tensor } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'

/** Token ids of B sequences of T tokens, row-major, or one list per sequence. */
export type InputIds = {
  readonly data: BigInt64Array | readonly (readonly number[])[]
  readonly B: number
  readonly T: number
}

export type ForwardOptions = {
  readonly threads: number
  /**
   * Called once per block, in order, with what goes through its FF layer: ffnIn (B·T, hidden), downIn (B·T, ff), ffnOut
   * (B·T, hidden) before the residual. The arrays are the caller's to keep.
   */
  readonly onLayer?: (layer: number, ffnIn: Float32Array, downIn: Float32Array, ffnOut: Float32Array) => void
  /** 1 for real tokens, 0 for padding, (B, T): outputs count only where it is 1. Left padding restarts positions. */
  readonly attentionMask?: BigInt64Array
}

/** Tokens of one attention run, in whole sequences: few enough that scores (heads · T numbers a token) stay in cache. */
const ATTENTION_TOKENS = 1024
/** Rows of one FF or head run. */
const ROWS = 1024

/**
 * Logits (B, T, vocab) of the dense model, block by block: one block's weights at a time, and of all activations only
 * the hidden states and what onLayer asks for.
 * Throws UsageError for ids outside the vocabulary or sequences longer than the model's positions, ShapeError when data
 * and B · T differ.
 */
export async function forward(
  model: OpenedModel,
  inputIds: InputIds,
  options: ForwardOptions,
): Promise<{ logits: Float32Array; dims: readonly [number, number, number] }> {
  const { config } = model
  const { B, T } = inputIds
  const ids = checkedIds(model, inputIds)
  const padding = options.attentionMask && paddingOf(options.attentionMask, B, T)
  const open = (graph: Model): Promise<Session> =>
    createSession(encodeModel(graph), { threads: options.threads, folder: model.dataFolder })

  const hidden = new Float32Array(B * T * config.hidden)
  const padded = padding !== undefined
  await using(open(embedModel(model, { padded })), async (session) => {
    const outputs = await session.run({
      input_ids: { type: 'int64', dims: [B, T], data: ids },
      ...(padding &&
        model.has('positions') && {
          position_ids: { type: 'int64' as const, dims: [B, T], data: padding.positions },
        }),
    })
    hidden.set(floats(outputs['hidden']))
  })
  for (let layer = 0; layer < config.layers; layer++) {
    const ffnIn = await using(open(attentionModel(model, layer, { padded })), (session) =>
      attend(session, hidden, B, T, padding),
    )
    await using(open(denseFfnModel(model, layer)), (session) =>
      feedForward(session, model, layer, hidden, ffnIn, options),
    )
  }
  const logits = await using(open(headModel(model)), (session) => project(session, hidden, config.hidden, config.vocab))
  return { logits, dims: [B, T, config.vocab] }
}

/** Runs the attention half of a block: hidden is replaced by the residual; returns the FF input. */
async function attend(
  session: Session,
  hidden: Float32Array,
  B: number,
  T: number,
  padding: Padding | undefined,
): Promise<Float32Array> {
  const d = hidden.length / (B * T)
  const ffnIn = new Float32Array(hidden.length)
  const step = Math.max(1, Math.floor(ATTENTION_TOKENS / T))
  for (let b = 0; b < B; b += step) {
    const n = Math.min(step, B - b)
    const [start, end] = [b * T * d, (b + n) * T * d]
    const outputs = await session.run({
      hidden: { type: 'float32', dims: [n, T, d], data: hidden.subarray(start, end) },
      ...(padding && {
        attention_mask: { type: 'int64', dims: [n, T], data: padding.mask.subarray(b * T, (b + n) * T) },
        position_ids: { type: 'int64', dims: [n, T], data: padding.positions.subarray(b * T, (b + n) * T) },
      }),
    })
    hidden.set(floats(outputs['residual']), start)
    ffnIn.set(floats(outputs['ffn_in']), start)
  }
  return ffnIn
}

/** Adds the FF layer's output to hidden; keeps intermediates only for onLayer. */
async function feedForward(
  session: Session,
  model: OpenedModel,
  layer: number,
  hidden: Float32Array,
  ffnIn: Float32Array,
  options: ForwardOptions,
): Promise<void> {
  const { hidden: d, ff } = model.config
  const rows = hidden.length / d
  const wanted = options.onLayer ? ['down_in', 'ffn_out', 'update'] : ['update']
  const kept = options.onLayer && { downIn: new Float32Array(rows * ff), ffnOut: new Float32Array(rows * d) }
  for (let start = 0; start < rows; start += ROWS) {
    const n = Math.min(ROWS, rows - start)
    const x = ffnIn.subarray(start * d, (start + n) * d)
    const outputs = await session.run({ x: { type: 'float32', dims: [n, d], data: x } }, wanted)
    const added = floats(outputs['update'])
    for (let i = 0, at = start * d; i < added.length; i++, at++) hidden[at]! += added[i]!
    kept?.downIn.set(floats(outputs['down_in']), start * ff)
    kept?.ffnOut.set(floats(outputs['ffn_out']), start * d)
  }
  if (kept) options.onLayer?.(layer, ffnIn, kept.downIn, kept.ffnOut)
}

async function project(session: Session, hidden: Float32Array, d: number, vocab: number): Promise<Float32Array> {
  const rows = hidden.length / d
  const logits = new Float32Array(rows * vocab)
  for (let start = 0; start < rows; start += ROWS) {
    const n = Math.min(ROWS, rows - start)
    const x: Tensor = { type: 'float32', dims: [n, d], data: hidden.subarray(start * d, (start + n) * d) }
    await session.run(
      { hidden: x },
      {
        logits: { type: 'float32', dims: [n, vocab], data: logits.subarray(start * vocab, (start + n) * vocab) },
      },
    )
  }
  return logits
}

type Padding = { readonly mask: BigInt64Array; readonly positions: BigInt64Array }

/** Positions count real tokens, as transformers derives them from the mask; padding has position 0. */
function paddingOf(mask: BigInt64Array, B: number, T: number): Padding {
  if (mask.length !== B * T)
    throw new ShapeError(`Cannot run the model: attentionMask has ${mask.length} numbers, expected ${B} x ${T}`)
  const positions = new BigInt64Array(B * T)
  for (let b = 0; b < B; b++) {
    let next = 0n
    for (let i = b * T; i < (b + 1) * T; i++) if (mask[i] !== 0n) positions[i] = next++
  }
  return { mask, positions }
}

function checkedIds(model: OpenedModel, { data, B, T }: InputIds): BigInt64Array {
  const ids = data instanceof BigInt64Array ? data : BigInt64Array.from(data.flat(), (id) => BigInt(id))
  if (ids.length !== B * T || B < 1 || T < 1)
    throw new ShapeError(`Cannot run the model: got ${ids.length} token ids, expected ${B} x ${T} and at least one`)
  const { vocab, maxPositions } = model.config
  if (T > maxPositions)
    throw new UsageError(
      `Cannot run ${model.folder} on sequences of ${T} tokens: it has ${maxPositions} positions: use shorter ones`,
    )
  const bad = ids.findIndex((id) => id < 0n || id >= vocab)
  if (bad >= 0)
    throw new UsageError(
      `Cannot run ${model.folder}: token ${bad % T} of sequence ${Math.floor(bad / T)} is ${ids[bad]}, ` +
        `expected 0 to ${vocab - 1}: use the ids of this model's tokenizer`,
    )
  return ids
}

/** Runs `body` with a session and releases it, whatever happens. */
async function using<R>(opening: Promise<Session>, body: (session: Session) => Promise<R>): Promise<R> {
  const session = await opening
  try {
    return await body(session)
  } finally {
    await session.release()
  }
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.type !== 'float32') throw new TypeError(`Expected a float32 output, got ${tensor?.type}`)
  return tensor.data
}
