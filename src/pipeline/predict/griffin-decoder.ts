import { UsageError } from '../../errors.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import type { Model } from '../../formats/onnx/types.ts'
import type { OpenedModel } from '../../model/open.ts'
import { GriffinStatistic } from '../../predict/griffin.ts'
import type { Session, Tensor } from '../../runtime/session.ts'
import { createSession } from '../../runtime/session.ts'
import type { Cache, Decoder } from '../../verify/decoder.ts'
import { createCache, decoderShape } from '../../verify/decoder.ts'
import { promptGraph, squaresName, subsetGraph } from './griffin-graph.ts'
import type { SetOptions } from './griffin-sets.ts'
import { setOf } from './griffin-sets.ts'

/** Tokens of one piece of a prompt; statistics add up over pieces. */
const PROMPT_TOKENS = 512

/**
 * GRIFFIN on a dense model, in stock onnxruntime: the first step of a sequence is its prompt, run dense with the
 * statistic beside the logits; then the selected neurons are gathered into a smaller graph, which all later steps run
 * on the same cache. The first new token is therefore the dense model's, as in the paper.
 */
export class GriffinDecoder implements Decoder {
  readonly vocab: number
  private readonly graph: Model
  private readonly model: OpenedModel
  private readonly selection: SetOptions
  private readonly prompt: Session
  private readonly threads: number
  private readonly cache: Cache
  private small: Session | undefined
  private hasPrompt = false
  private tokens = 0
  private chosen: readonly Int32Array[] = []
  private ms = 0

  private constructor(graph: Model, model: OpenedModel, selection: SetOptions, prompt: Session, threads: number) {
    const { vocab, caches } = decoderShape(graph)
    this.vocab = vocab
    this.graph = graph
    this.model = model
    this.selection = selection
    this.prompt = prompt
    this.threads = threads
    this.cache = createCache(
      caches,
      graph.graph.node.some(({ opType }) => opType === 'GroupQueryAttention'),
    )
  }

  /** Loads a dense decoder graph whose weights are those of `model`, which has to stay open. */
  static async create(
    graph: Model,
    model: OpenedModel,
    selection: SetOptions,
    threads: number,
  ): Promise<GriffinDecoder> {
    const prompt = await load(promptGraph(graph, model), model, threads)
    return new GriffinDecoder(graph, model, selection, prompt, threads)
  }

  get length(): number {
    return this.tokens
  }

  /** Neurons kept of each layer, by rising index; empty before the prompt. */
  get sets(): readonly Int32Array[] {
    return this.chosen
  }

  /** Milliseconds that selecting, gathering and loading the smaller graph took after the last prompt. */
  get selectMs(): number {
    return this.ms
  }

  async step(ids: readonly number[]): Promise<Float32Array> {
    if (ids.length === 0) throw new UsageError('Cannot run a decoder on no tokens: wanted at least one')
    if (!this.hasPrompt) return this.runPrompt(ids)
    const results = await runStep(this.small!, this.cache, ids, this.tokens, [])
    this.tokens += ids.length
    return lastRow(results, this.vocab)
  }

  async all(ids: readonly number[]): Promise<Float32Array> {
    this.reset()
    this.tokens = ids.length
    return (await runStep(this.prompt, this.cache, ids, 0, []))['logits']!.data as Float32Array
  }

  reset(): void {
    this.hasPrompt = false
    this.tokens = 0
    this.chosen = []
    this.cache.reset()
  }

  async release(): Promise<void> {
    await this.small?.release()
    await this.prompt.release()
  }

  private async runPrompt(ids: readonly number[]): Promise<Float32Array> {
    const { layers, ff } = this.model.config
    const names = Array.from({ length: layers }, (_, layer) => squaresName(layer))
    const statistics = names.map(() => new GriffinStatistic(ff))
    let logits: Float32Array = new Float32Array(0)
    for (let at = 0; at < ids.length; at += PROMPT_TOKENS) {
      const piece = ids.slice(at, at + PROMPT_TOKENS)
      const results = await runStep(this.prompt, this.cache, piece, this.tokens, names)
      for (const [layer, statistic] of statistics.entries())
        statistic.addSquares(results[names[layer]!]!.data as Float32Array, piece.length)
      logits = lastRow(results, this.vocab)
      this.tokens += piece.length
    }
    const start = performance.now()
    this.chosen = statistics.map((statistic, layer) => setOf(layer, 0, statistic, this.selection))
    await this.small?.release()
    this.small = await load(subsetGraph(this.graph, this.model, this.chosen), this.model, this.threads)
    this.ms = performance.now() - start
    this.hasPrompt = true
    return logits
  }
}

function load(graph: Model, model: OpenedModel, threads: number): Promise<Session> {
  return createSession(encodeModel(graph), { threads, folder: model.dataFolder })
}

/** One run behind `past` tokens; `more` are outputs wanted beside logits and cache. */
async function runStep(
  session: Session,
  cache: Cache,
  ids: readonly number[],
  past: number,
  more: readonly string[],
): Promise<Record<string, Tensor>> {
  const total = past + ids.length
  const { feeds, fetches } = cache.prepare(past, total)
  const wanted = fetches && { ...fetches, ...Object.fromEntries(more.map((name) => [name, null])) }
  const results = await session.run(
    {
      input_ids: { type: 'int64', dims: [1, ids.length], data: BigInt64Array.from(ids, BigInt) },
      attention_mask: { type: 'int64', dims: [1, total], data: new BigInt64Array(total).fill(1n) },
      ...feeds,
    },
    wanted,
  )
  cache.keep(results)
  return results
}

function lastRow(results: Readonly<Record<string, Tensor>>, vocab: number): Float32Array {
  const rows = results['logits']!.data as Float32Array
  return rows.slice(rows.length - vocab)
}
