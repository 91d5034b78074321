import { InterruptedError, ResourceError } from '../../errors.ts'
import { createGram } from '../../linalg/gram.ts'
import type { OpenedModel } from '../../model/open.ts'
import { coActivationOrder } from '../../predict/groups.ts'
import { markTopK } from '../../predict/top-k.ts'
import type { Blas } from '../../tensor/blas.ts'
import type { WindowIds } from '../../verify/hidden.ts'
import type { FfChunk, Walk } from './walk.ts'

/** What the calibration text says about one FF layer. */
export type FfStatistics = {
  /** E[x xᵀ] of the FF inputs (d, d). */
  readonly C: Float32Array
  /** Share of tokens in which each neuron (in the model's order) is among the k that count. */
  readonly activity: Float32Array
  /** Neurons in their new order, where they are grouped. */
  readonly order?: Int32Array
}

/** Co-activation counts of all layers that may be in memory at a time. */
const MAX_COUNT_BYTES = 4e9

/**
 * Second moments, activity and (for groups) co-activation of every FF layer on some text. Throws ResourceError when the
 * co-activation counts of a model are too large.
 */
export async function ffStatistics(
  { config }: OpenedModel,
  walk: Walk,
  blas: Blas,
  windows: WindowIds,
  options: { readonly k: number; readonly group: number; readonly signal?: AbortSignal },
): Promise<FfStatistics[]> {
  const { layers, hidden, ff } = config
  const { k, group } = options
  if (group > 1 && layers * ff * ff * 4 > MAX_COUNT_BYTES)
    throw new ResourceError(
      `Cannot group ${ff} neurons of ${layers} layers: their co-activation takes ${layers * ff * ff * 4} bytes, at most ` +
        `${MAX_COUNT_BYTES}: use --group 1`,
    )
  const all = Array.from({ length: layers }, () => ({
    moments: createGram(blas, hidden),
    common: group > 1 ? createGram(blas, ff) : undefined,
    activity: new Float64Array(ff),
    rows: 0,
  }))
  const [magnitude, kept, scratch] = [new Float32Array(ff), new Uint8Array(ff), new Float32Array(ff)]
  const onFf = async ({ layer, x, z }: FfChunk): Promise<void> => {
    const sums = all[layer]!
    const active = sums.common && new Float32Array(z.length)
    for (let row = 0; row < z.length; row += ff) {
      for (let j = 0; j < ff; j++) magnitude[j] = Math.abs(z[row + j])
      markTopK(magnitude, k, kept, scratch)
      for (let j = 0; j < ff; j++) sums.activity[j] += kept[j]
      active?.set(kept, row)
    }
    sums.rows += x.length / hidden
    await sums.moments.add(x)
    if (active) await sums.common!.add(active)
  }
  await walk.run({ windows, onFf, ...(options.signal ? { signal: options.signal } : {}) })
  return Promise.all(
    all.map(async ({ moments, common, activity, rows }): Promise<FfStatistics> => {
      if (options.signal?.aborted)
        throw new InterruptedError('Interrupted while calibrating: run the same command again')
      const S = await moments.finish()
      return {
        C: S.map((value) => value / rows),
        activity: Float32Array.from(activity, (count) => count / rows),
        ...(common ? { order: coActivationOrder(await common.finish(), ff, group) } : {}),
      }
    }),
  )
}
