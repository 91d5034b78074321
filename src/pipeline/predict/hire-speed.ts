import { availableParallelism } from 'node:os'
import { withHire } from '../../../export/hire-graph.ts'
import { ffTensorNames } from '../../../export/hire.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import { openSafetensors } from '../../formats/safetensors/reader.ts'
import { openModel } from '../../model/open.ts'
import { readGraph } from '../../verify/artifact.ts'
import type { Decoder } from '../../verify/decoder.ts'
import { createDecoder } from '../../verify/decoder.ts'
import type { Timing } from '../../verify/timing.ts'
import { timeInTurns } from '../../verify/timing.ts'
import { defaultProvider } from '../provider.ts'
import type { HireSection } from './hire-types.ts'

/** Decoding one token by the whole model: every product exact, and with the same share of neurons in every layer. */
export type HireSpeed = {
  readonly provider: string
  readonly threads: number
  readonly dense: Timing
  readonly rows: readonly { readonly density: number; readonly ours: Timing }[]
}

const DENSITIES = [0.05, 0.1, 0.25, 0.5]
const PROMPT = 32
const ROUNDS = 24

/**
 * Times a dense model with HiRE against itself without, in turns, the softmax as it was chosen. The predictors are those
 * of `folder`, where k' is put in place of the chosen ones.
 */
export async function hireSpeed(
  folder: string,
  hire: HireSection,
  threads: number = availableParallelism(),
): Promise<HireSpeed> {
  const model = openModel(folder)
  const store = openSafetensors(`${folder}/${hire.weights}`)
  const provider = defaultProvider()
  const plain = readGraph(folder)
  const place = (name: string): ReturnType<Parameters<typeof withHire>[1]['place']> => {
    const { dtype, shape, offset, byteLength } = store.get(name)
    return { dtype, shape, external: { location: hire.weights, offset, length: byteLength } }
  }
  const decoders: Decoder[] = []
  const open = async (density: number | undefined): Promise<void> => {
    const layers = hire.layers.map((form) => {
      const kPrime = Math.max(
        form.group,
        Math.floor((density! * model.config.ff) / form.group) * form.group,
        form.always,
      )
      return { ...form, k: 1, kPrime }
    })
    const softmax = hire.softmax ? { softmax: hire.softmax } : {}
    const graph =
      density === undefined
        ? plain
        : withHire(plain, {
            place,
            layers,
            ...softmax,
            names: (layer) => ffTensorNames(model, layer),
            metadata: () => [],
          })
    const session = { graph, source: encodeModel(graph), folder, threads, takesTurns: true }
    const decoder = await createDecoder({ ...session, provider: density === undefined ? 'cpu' : provider })
    await decoder.step(Array.from({ length: PROMPT }, (_, i) => i % model.config.vocab))
    decoders.push(decoder)
  }
  try {
    for (const density of [undefined, ...DENSITIES]) await open(density)
    const contenders = decoders.map((decoder) => () => decoder.step([1]))
    const [dense, ...ours] = await timeInTurns(contenders, { warmUp: 3, rounds: ROUNDS, now: () => performance.now() })
    const rows = DENSITIES.map((density, i) => ({ density, ours: ours[i]! }))
    return { provider, threads, dense: dense!, rows }
  } finally {
    for (const decoder of decoders) await decoder.release()
    store.close()
    model.close()
  }
}
