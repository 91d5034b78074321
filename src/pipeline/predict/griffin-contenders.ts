import type { OpenedModel } from '../../model/open.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import type { Model } from '../../formats/onnx/types.ts'
import type { Provider, Session, Tensor } from '../../runtime/session.ts'
import { createSession } from '../../runtime/session.ts'
import { createCache, decoderShape } from '../../verify/decoder.ts'
import { denseDecoder } from '../open-decoder.ts'
import { subsetGraph } from './griffin-graph.ts'
import { neuronGraph, setName } from './griffin-native.ts'

/**
 * Decoding steps of the whole model behind a prompt: with all neurons, with gathered ones, and (where it is built) with the
 * native operator, each with a cache of its own. The prompts run through the same graphs; only later steps are timed.
 */
export async function modelContenders(
  model: OpenedModel,
  sets: readonly Int32Array[],
  promptIds: readonly number[],
  { threads, isNative }: { readonly threads: number; readonly isNative: boolean },
): Promise<{ steps: (() => Promise<unknown>)[]; release: () => Promise<void> }> {
  const { graph } = denseDecoder(model.folder)
  const chosen = Object.fromEntries(
    sets.map((set, layer): [string, Tensor] => [
      setName(layer),
      { type: 'int64', dims: [set.length], data: BigInt64Array.from(set, BigInt) },
    ]),
  )
  const sides: { readonly graph: Model; readonly provider: Provider; readonly feeds: Record<string, Tensor> }[] = [
    { graph, provider: 'cpu', feeds: {} },
    { graph: subsetGraph(graph, model, sets), provider: 'cpu', feeds: {} },
    ...(isNative ? [{ graph: neuronGraph(graph, model), provider: 'spexpand' as const, feeds: chosen }] : []),
  ]
  const sessions: Session[] = []
  const release = async (): Promise<void> => {
    for (const session of sessions) await session.release()
  }
  try {
    const steps: (() => Promise<unknown>)[] = []
    for (const side of sides) {
      const options = { threads, provider: side.provider, folder: model.dataFolder, takesTurns: true }
      const session = await createSession(encodeModel(side.graph), options)
      sessions.push(session)
      const step = stepper(session, graph, side.feeds)
      await step(promptIds)
      steps.push(() => step([promptIds[0]!]))
    }
    return { steps, release }
  } catch (error) {
    await release()
    throw error
  }
}

function stepper(
  session: Session,
  graph: Model,
  more: Readonly<Record<string, Tensor>>,
): (ids: readonly number[]) => Promise<void> {
  const inPlace = graph.graph.node.some(({ opType }) => opType === 'GroupQueryAttention')
  const cache = createCache(decoderShape(graph).caches, inPlace)
  let past = 0
  return async (ids) => {
    const total = past + ids.length
    const { feeds, fetches } = cache.prepare(past, total)
    const results = await session.run(
      {
        input_ids: { type: 'int64', dims: [1, ids.length], data: BigInt64Array.from(ids, BigInt) },
        attention_mask: { type: 'int64', dims: [1, total], data: new BigInt64Array(total).fill(1n) },
        ...feeds,
        ...more,
      },
      fetches,
    )
    cache.keep(results)
    past = total
  }
}
