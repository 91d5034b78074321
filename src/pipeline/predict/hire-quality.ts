import { availableParallelism } from 'node:os'
import type { Provider } from '../../runtime/session.ts'
import { readGraph } from '../../verify/artifact.ts'
import type { GraphEvaluation, GraphQuality } from '../../verify/evaluate.ts'
import { evaluateGraph } from '../../verify/evaluate.ts'
import { graphHiddenSource } from '../../verify/hidden.ts'
import { defaultProvider } from '../provider.ts'
import { evaluationText } from '../text.ts'
import type { Quality } from '../types.ts'
import { openHire } from './hire-option.ts'
import type { HireOptions } from './hire-types.ts'

/** Quality of an artifact run with its HiRE. @default for `dense`: model.onnx of the same folder, every product exact */
export async function evaluateHire(
  folder: string,
  options: Omit<GraphEvaluation, 'graph' | 'denseHead' | 'folder'> & { readonly provider: Provider },
): Promise<GraphQuality> {
  const { graph } = openHire(folder)
  const plain = readGraph(folder)
  const own = options.dense ? undefined : await graphHiddenSource(plain, { ...options, folder })
  try {
    return await evaluateGraph({ ...options, ...(own ? { dense: own } : {}), graph, folder, denseHead: plain })
  } finally {
    await own?.release()
  }
}

/** What predict says about the files it has just written. */
export async function hireQuality(
  folder: string,
  options: Pick<HireOptions, 'text' | 'windows' | 'sequenceLength' | 'threads' | 'onProgress' | 'signal'>,
): Promise<Quality> {
  const {
    text,
    windows: count = 32,
    sequenceLength = 256,
    threads = availableParallelism(),
    onProgress,
    signal,
  } = options
  const windows = await evaluationText(folder, { ...(text ? { text } : {}), windows: count, sequenceLength })
  const { overall } = await evaluateHire(folder, {
    windows,
    threads,
    provider: defaultProvider(),
    ...(onProgress ? { onProgress: (done, total) => onProgress({ stage: 'evaluate', done, total }) } : {}),
    ...(signal ? { signal } : {}),
  })
  return overall
}
