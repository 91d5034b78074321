import { FormatError } from '../errors.ts'
import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model, ValueInfo } from '../formats/onnx/types.ts'
import type { Provider, Tensor } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'
import { splitBeforeHead } from './split.ts'

/** Token ids of evaluation windows, row by row. */
export type WindowIds = {
  readonly ids: Int32Array // (nWindows, sequenceLength)
  readonly nWindows: number
  readonly sequenceLength: number
}

/** Hidden states of windows, whoever computes them: (windows · sequenceLength, hidden) before the final norm. */
export type HiddenSource = {
  hidden(windows: WindowIds, first: number, end: number): Promise<Float32Array>
  release(): Promise<void>
}

/**
 * Hidden states by a decoder graph (its external data in `folder`) in onnxruntime; the head is left out. Throws
 * FormatError when the graph cannot be cut before its head, UnsupportedError when onnxruntime cannot run it.
 */
export async function graphHiddenSource(
  model: Model,
  options: { readonly folder: string; readonly threads: number; readonly provider?: Provider },
): Promise<HiddenSource> {
  const { body, hiddenName } = splitBeforeHead(model, `the graph of ${options.folder}`)
  const session = await createSession(encodeModel(body), options)
  return {
    async hidden(windows, first, end) {
      const results = await session.run(feedsOf(body.graph.input, windows, first, end), [hiddenName])
      return results[hiddenName]!.data as Float32Array
    },
    release: () => session.release(),
  }
}

/** Feeds of a decoder graph: whole windows without padding and without a past. */
export function feedsOf(
  inputs: readonly ValueInfo[],
  { ids, sequenceLength }: WindowIds,
  first: number,
  end: number,
): Record<string, Tensor> {
  const dims = [end - first, sequenceLength]
  const tokens = ids.subarray(first * sequenceLength, end * sequenceLength)
  const feeds: Record<string, Tensor> = {}
  for (const { name, shape } of inputs) {
    if (name === 'input_ids') feeds[name] = { type: 'int64', dims, data: BigInt64Array.from(tokens, BigInt) }
    else if (name === 'attention_mask')
      feeds[name] = { type: 'int64', dims, data: new BigInt64Array(tokens.length).fill(1n) }
    else if (name.startsWith('past_key_values.')) feeds[name] = emptyCache(name, shape, end - first)
    else throw new FormatError(`Cannot run a decoder graph: it has an input "${name}" that this version does not know`)
  }
  return feeds
}

function emptyCache(name: string, shape: ValueInfo['shape'], batch: number): Tensor {
  const [, heads, , headDim] = shape ?? []
  if (typeof heads !== 'number' || typeof headDim !== 'number')
    throw new FormatError(`Cannot run a decoder graph: the shape of "${name}" is not (batch, heads, past, size)`)
  return { type: 'float32', dims: [batch, heads, 0, headDim], data: new Float32Array(0) }
}
