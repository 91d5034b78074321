import { encodeModel } from '../../formats/onnx/encode.ts'
import type { Model } from '../../formats/onnx/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import type { Provider, Session, Tensor } from '../../runtime/session.ts'
import { createSession } from '../../runtime/session.ts'
import { ffLayers } from '../../verify/ff-layers.ts'
import { denseIntermediates, maskedGraph, maskName, promptGraph, subsetGraph } from './griffin-graph.ts'
import { neuronGraph, setName } from './griffin-native.ts'
import type { GriffinSource } from './griffin-source.ts'

/**
 * How tokens behind a prompt are computed. 'gathered': the selected weights of a dense model in a smaller graph, made anew for
 * every prompt. 'native': NeuronSubsetFFN over the rows selected. 'masked': everything is computed and the other neurons are
 * set to 0: the same result, no gain.
 */
export type FormName = 'gathered' | 'native' | 'masked'

/** The two sides of a GRIFFIN decoder: what runs prompts, and what runs tokens behind them. */
export type GriffinForm = {
  readonly name: FormName
  /** Whether a prompt's run also counts tokens. */
  readonly isCounted: boolean
  readonly prompt: Session
  /** Inputs of a prompt's run beside tokens and cache. */
  readonly promptFeeds: Readonly<Record<string, Tensor>>
  /** Prepares for decoding with these sets, one a layer. */
  select(sets: readonly Int32Array[]): Promise<{ session: Session; feeds: Readonly<Record<string, Tensor>> }>
  release(): Promise<void>
}

export type FormOptions = {
  readonly threads: number
  readonly provider: Provider
  readonly takesTurns?: boolean
  /** @default false */
  readonly isCounted?: boolean
}

/** Loads the form of a source: 'masked' for artifacts; for dense models 'native' on 'spexpand', else 'gathered'. */
export function openForm(source: GriffinSource, options: FormOptions): Promise<GriffinForm> {
  const { dense } = source
  if (!dense) return maskedForm(source, options)
  return options.provider === 'spexpand' ? nativeForm(source, dense, options) : gatheredForm(source, dense, options)
}

/** Any graph, by masks. */
export async function maskedForm(
  { decoder, config, folder }: GriffinSource,
  options: FormOptions,
): Promise<GriffinForm> {
  const { graph } = decoder
  const intermediates = ffLayers(graph, folder).map(({ down }) => down.node.input[0]!)
  const session = await load(maskedGraph(graph, intermediates, config.ff, options.isCounted), decoder.folder, options)
  const masks = (fill: (layer: number) => Float32Array): Record<string, Tensor> =>
    Object.fromEntries(
      intermediates.map((_, layer) => [
        maskName(layer),
        { type: 'float32' as const, dims: [config.ff], data: fill(layer) },
      ]),
    )
  return {
    name: 'masked',
    isCounted: options.isCounted === true,
    prompt: session,
    promptFeeds: masks(() => new Float32Array(config.ff).fill(1)),
    select(sets) {
      const marked = (layer: number): Float32Array => {
        const mask = new Float32Array(config.ff)
        for (const j of sets[layer]!) mask[j] = 1
        return mask
      }
      return Promise.resolve({ session, feeds: masks(marked) })
    },
    release: () => session.release(),
  }
}

/** A dense model in stock onnxruntime. */
export async function gatheredForm(
  { decoder }: GriffinSource,
  dense: OpenedModel,
  options: FormOptions,
): Promise<GriffinForm> {
  const prompt = await densePrompt(decoder.graph, dense, options)
  let small: Session | undefined
  return {
    name: 'gathered',
    isCounted: options.isCounted === true,
    prompt,
    promptFeeds: {},
    async select(sets) {
      await small?.release()
      small = await load(subsetGraph(decoder.graph, dense, sets), dense.dataFolder, options)
      return { session: small, feeds: {} }
    },
    async release() {
      await small?.release()
      await prompt.release()
    },
  }
}

/** A dense model with the native operator, which reads the selected rows where they are. */
export async function nativeForm(
  { decoder }: GriffinSource,
  dense: OpenedModel,
  options: FormOptions,
): Promise<GriffinForm> {
  const prompt = await densePrompt(decoder.graph, dense, options)
  let session: Session | undefined
  try {
    session = await load(neuronGraph(decoder.graph, dense), dense.dataFolder, { ...options, provider: 'spexpand' })
  } catch (error) {
    await prompt.release()
    throw error
  }
  return {
    name: 'native',
    isCounted: options.isCounted === true,
    prompt,
    promptFeeds: {},
    select: (sets) =>
      Promise.resolve({
        session,
        feeds: Object.fromEntries(
          sets.map((set, layer) => [
            setName(layer),
            { type: 'int64' as const, dims: [set.length], data: BigInt64Array.from(set, BigInt) },
          ]),
        ),
      }),
    async release() {
      await session.release()
      await prompt.release()
    },
  }
}

function densePrompt(graph: Model, dense: OpenedModel, options: FormOptions): Promise<Session> {
  const whole = promptGraph(graph, denseIntermediates(graph, dense), dense.config.ff, options.isCounted)
  return load(whole, dense.dataFolder, {
    ...options,
    provider: options.provider === 'spexpand' ? 'cpu' : options.provider,
  })
}

function load(graph: Model, folder: string, options: FormOptions): Promise<Session> {
  const { threads, provider, takesTurns = false } = options
  return createSession(encodeModel(graph), { threads, provider, takesTurns, folder })
}
