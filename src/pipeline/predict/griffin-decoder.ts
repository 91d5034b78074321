import { UsageError } from '../../errors.ts'
import { GriffinStatistic } from '../../predict/griffin.ts'
import type { Session, Tensor } from '../../runtime/session.ts'
import type { Cache, Decoder } from '../../verify/decoder.ts'
import { createCache, decoderShape } from '../../verify/decoder.ts'
import type { GriffinForm } from './griffin-forms.ts'
import { countsName, squaresName } from './griffin-graph.ts'
import type { SetOptions } from './griffin-sets.ts'
import { setOf } from './griffin-sets.ts'
import type { GriffinSource } from './griffin-source.ts'

/** Tokens of one piece of a prompt; statistics add up over pieces. */
const PROMPT_TOKENS = 512

export type GriffinDecoderOptions = {
  readonly form: GriffinForm
  readonly selection: SetOptions
  /** Tokens of one run of a prompt. @default 512 */
  readonly promptChunk?: number
}

/**
 * GRIFFIN: the first step of a sequence is its prompt, run with all neurons and the statistic beside the logits; then sets are
 * selected, and all later steps run on them with the same cache. The first new token is therefore that of the whole model, as
 * in the paper.
 */
export class GriffinDecoder implements Decoder {
  readonly vocab: number
  readonly form: GriffinForm
  private readonly layers: number
  private readonly ff: number
  private readonly options: GriffinDecoderOptions
  private readonly cache: Cache
  private decode: { readonly session: Session; readonly feeds: Readonly<Record<string, Tensor>> } | undefined
  private tokens = 0
  private chosen: readonly Int32Array[] = []
  private ms = 0

  constructor({ decoder: { graph }, config }: GriffinSource, options: GriffinDecoderOptions) {
    const { vocab, caches } = decoderShape(graph)
    this.vocab = vocab
    this.layers = config.layers
    this.ff = config.ff
    this.options = options
    this.form = options.form
    this.cache = createCache(
      caches,
      graph.graph.node.some(({ opType }) => opType === 'GroupQueryAttention'),
    )
  }

  get length(): number {
    return this.tokens
  }

  /** Neurons kept of each layer, by rising index; empty before the prompt. */
  get sets(): readonly Int32Array[] {
    return this.chosen
  }

  /** Milliseconds that selecting and preparing the decoding took after the last prompt. */
  get selectMs(): number {
    return this.ms
  }

  async step(ids: readonly number[]): Promise<Float32Array> {
    if (ids.length === 0) throw new UsageError('Cannot run a decoder on no tokens: wanted at least one')
    if (!this.decode) return this.runPrompt(ids)
    const results = await this.run(this.decode.session, ids, this.decode.feeds, [])
    return lastRow(results, this.vocab)
  }

  async all(ids: readonly number[]): Promise<Float32Array> {
    this.reset()
    const results = await this.run(this.form.prompt, ids, this.form.promptFeeds, [])
    return results['logits']!.data as Float32Array
  }

  reset(): void {
    this.decode = undefined
    this.tokens = 0
    this.chosen = []
    this.cache.reset()
  }

  release(): Promise<void> {
    return this.form.release()
  }

  private async runPrompt(ids: readonly number[]): Promise<Float32Array> {
    const { prompt, promptFeeds, isCounted } = this.form
    const { selection, promptChunk = PROMPT_TOKENS } = this.options
    const names = Array.from({ length: this.layers }, (_, layer) => squaresName(layer))
    const counts = isCounted ? names.map((_, layer) => countsName(layer)) : []
    const statistics = names.map(() => new GriffinStatistic(this.ff))
    let logits: Float32Array = new Float32Array(0)
    for (let at = 0; at < ids.length; at += promptChunk) {
      const piece = ids.slice(at, at + promptChunk)
      const results = await this.run(prompt, piece, promptFeeds, [...names, ...counts])
      for (const [layer, statistic] of statistics.entries()) {
        statistic.addSquares(results[names[layer]!]!.data as Float32Array, piece.length)
        if (isCounted) statistic.addCounts(results[counts[layer]!]!.data as Float32Array)
      }
      logits = lastRow(results, this.vocab)
    }
    const start = performance.now()
    this.chosen = statistics.map((statistic, layer) => setOf(layer, 0, statistic, selection))
    this.decode = await this.form.select(this.chosen)
    this.ms = performance.now() - start
    return logits
  }

  /** One run behind the tokens so far; `more` are outputs wanted beside logits and cache. */
  private async run(
    session: Session,
    ids: readonly number[],
    given: Readonly<Record<string, Tensor>>,
    more: readonly string[],
  ): Promise<Record<string, Tensor>> {
    const total = this.tokens + ids.length
    const { feeds, fetches } = this.cache.prepare(this.tokens, total)
    const wanted = fetches && { ...fetches, ...Object.fromEntries(more.map((name) => [name, null])) }
    const results = await session.run(
      {
        input_ids: { type: 'int64', dims: [1, ids.length], data: BigInt64Array.from(ids, BigInt) },
        attention_mask: { type: 'int64', dims: [1, total], data: new BigInt64Array(total).fill(1n) },
        ...feeds,
        ...given,
      },
      wanted,
    )
    this.cache.keep(results)
    this.tokens = total
    return results
  }
}

function lastRow(results: Readonly<Record<string, Tensor>>, vocab: number): Float32Array {
  const rows = results['logits']!.data as Float32Array
  return rows.slice(rows.length - vocab)
}
