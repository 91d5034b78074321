import { FormatError, UsageError } from '../errors.ts'
import type { Model, ValueInfo } from '../formats/onnx/types.ts'
import type { Provider, Session, Tensor } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'

/** A decoder graph with its cache, one sequence at a time. */
export type Decoder = {
  /** Appends tokens to the sequence and gives the logits (vocab) after the last of them. */
  step(ids: readonly number[]): Promise<Float32Array>
  /** A new sequence in one run: the logits (tokens, vocab) after each of its tokens. */
  all(ids: readonly number[]): Promise<Float32Array>
  /** Tokens of the sequence so far. */
  readonly length: number
  readonly vocab: number
  /** Begins a new sequence; buffers are kept. */
  reset(): void
  release(): Promise<void>
}

export type DecoderOptions = {
  /** The graph that `source` holds. */
  readonly graph: Model
  /** Path of the .onnx file, or its bytes with external data in `folder`. */
  readonly source: string | Uint8Array
  readonly folder: string
  readonly threads: number
  /** @default 'cpu' */
  readonly provider?: Provider
  /** Passed on to createSession(). @default false */
  readonly takesTurns?: boolean
  /** Most tokens of one run of a prompt. @default as many as 128 MB of logits have */
  readonly promptChunk?: number
}

/** Keys by which a cache grows: GroupQueryAttention costs more the longer its buffer is, and growing copies it. */
const GROWTH = 256
/** Bytes of logits of one piece of a prompt: the graph gives those of every token. */
const LOGITS_BYTES = 128e6

/**
 * Loads a decoder graph for generation. Caches of GroupQueryAttention are updated in place where the provider computes in
 * main memory; others come out of each step as new tensors.
 * Throws FormatError for a graph with other inputs, UnsupportedError when the provider cannot run it.
 */
export async function createDecoder(options: DecoderOptions): Promise<Decoder> {
  const { graph, provider = 'cpu' } = options
  const shape = decoderShape(graph)
  const session = await createSession(options.source, { ...options, provider })
  const inPlace =
    (provider === 'cpu' || provider === 'spexpand') &&
    graph.graph.node.some(({ opType }) => opType === 'GroupQueryAttention')
  const cache = createCache(shape.caches, inPlace)
  const perRun = options.promptChunk ?? Math.max(1, Math.floor(LOGITS_BYTES / (4 * shape.vocab)))
  let length = 0
  return {
    get length() {
      return length
    },
    vocab: shape.vocab,
    async step(ids) {
      if (ids.length === 0) throw new UsageError('Cannot run a decoder on no tokens: wanted at least one')
      let logits: Float32Array = new Float32Array(0)
      for (let at = 0; at < ids.length; at += perRun) {
        const piece = ids.slice(at, at + perRun)
        const rows = await runStep(session, cache, piece, length)
        logits = rows.subarray(rows.length - shape.vocab)
        length += piece.length
      }
      return logits
    },
    async all(ids) {
      cache.reset()
      length = ids.length
      return runStep(session, cache, ids, 0)
    },
    reset() {
      length = 0
      cache.reset()
    },
    release: () => session.release(),
  }
}

/** Logits (tokens, vocab) of a piece behind `past` tokens. */
async function runStep(session: Session, cache: Cache, ids: readonly number[], past: number): Promise<Float32Array> {
  const total = past + ids.length
  const { feeds, fetches } = cache.prepare(past, total)
  const results = await session.run(
    {
      input_ids: { type: 'int64', dims: [1, ids.length], data: BigInt64Array.from(ids, BigInt) },
      attention_mask: { type: 'int64', dims: [1, total], data: new BigInt64Array(total).fill(1n) },
      ...feeds,
    },
    fetches,
  )
  cache.keep(results)
  return results['logits']!.data as Float32Array
}

type CacheShape = { readonly name: string; readonly heads: number; readonly headDim: number }

/** Size of the vocabulary and of the caches of a decoder graph. Throws FormatError for one with other inputs. */
export function decoderShape({ graph }: Model): { vocab: number; caches: CacheShape[] } {
  const vocab = graph.output.find(({ name }) => name === 'logits')?.shape?.at(-1)
  if (typeof vocab !== 'number')
    throw new FormatError('Cannot generate: the graph has no output "logits" of known size')
  const caches: CacheShape[] = []
  for (const input of graph.input) {
    if (input.name === 'input_ids' || input.name === 'attention_mask') continue
    caches.push(cacheShape(input))
  }
  return { vocab, caches }
}

function cacheShape({ name, shape }: ValueInfo): CacheShape {
  const [, heads, , headDim] = shape ?? []
  if (!name.startsWith('past_key_values.') || typeof heads !== 'number' || typeof headDim !== 'number')
    throw new FormatError(
      `Cannot generate: the graph has an input "${name}" [${(shape ?? []).join(', ')}], wanted input_ids, ` +
        'attention_mask and past_key_values.{i}.key|value (batch, heads, past, size)',
    )
  return { name, heads, headDim }
}

/** What a step is given of the cache and where its outputs go. */
export type Cache = {
  prepare(
    past: number,
    total: number,
  ): { feeds: Record<string, Tensor>; fetches: Record<string, Tensor | null> | undefined }
  keep(results: Readonly<Record<string, Tensor>>): void
  reset(): void
}

const presentName = (past: string): string => past.replace('past_key_values', 'present')

/** Caches of decoder sessions, in place or stepped; sessions of equal caches may take turns on one. */
export function createCache(shapes: readonly CacheShape[], inPlace: boolean): Cache {
  return inPlace ? sharedCache(shapes) : steppedCache(shapes)
}

/** Past and present are one buffer of some steps of GROWTH keys; the mask says how many of them count. */
function sharedCache(shapes: readonly CacheShape[]): Cache {
  let capacity = 0
  let buffers = shapes.map(() => new Float32Array(0))
  return {
    prepare(past, total) {
      if (total > capacity) {
        const grown = Math.ceil(total / GROWTH) * GROWTH
        buffers = buffers.map((old, i) => regrow(old, shapes[i]!, past, capacity, grown))
        capacity = grown
      }
      const tensors = shapes.map(({ name, heads, headDim }, i): [string, Tensor] => [
        name,
        { type: 'float32', dims: [1, heads, capacity, headDim], data: buffers[i]! },
      ])
      const outputs = tensors.map(([name, tensor]): [string, Tensor] => [presentName(name), tensor])
      return { feeds: Object.fromEntries(tensors), fetches: { logits: null, ...Object.fromEntries(outputs) } }
    },
    keep() {},
    reset() {},
  }
}

/** The first `past` keys of every head, in a longer buffer. */
function regrow(
  old: Float32Array<ArrayBuffer>,
  { heads, headDim }: CacheShape,
  past: number,
  from: number,
  to: number,
): Float32Array<ArrayBuffer> {
  const data = new Float32Array(heads * to * headDim)
  for (let h = 0; h < heads; h++)
    data.set(old.subarray(h * from * headDim, (h * from + past) * headDim), h * to * headDim)
  return data
}

/** Every step's present is the next one's past. */
function steppedCache(shapes: readonly CacheShape[]): Cache {
  const empty = (): Record<string, Tensor> =>
    Object.fromEntries(
      shapes.map(({ name, heads, headDim }): [string, Tensor] => [
        name,
        { type: 'float32', dims: [1, heads, 0, headDim], data: new Float32Array(0) },
      ]),
    )
  let feeds = empty()
  return {
    prepare: () => ({ feeds, fetches: undefined }),
    keep(results) {
      feeds = Object.fromEntries(shapes.map(({ name }) => [name, results[presentName(name)]!]))
    },
    reset() {
      feeds = empty()
    },
  }
}
