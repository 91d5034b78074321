import { componentCount } from '../cluster/pca.ts'
import { strideOf } from '../cluster/points.ts'
import type { ModelConfig } from '../model/config.ts'
import type { OpenedModel } from '../model/open.ts'
import { isNativeForm } from './ffn.ts'
import { matricesOf } from './jobs.ts'
import type { Resolved } from './options.ts'
import { packedBlockBytes } from './sizes.ts'
import { productsOf } from './products.ts'

/** Bytes by stage of a block; stages do not overlap. */
type StageBytes = { readonly attention: number; readonly cluster: number; readonly prune: number }

type Way = { readonly expertsAtOnce: number; readonly spooled: boolean; readonly workers: number }

// Fitted to peaks of the demo model, SmolLM2-135M and a block of hidden 1536 with one and two workers
// (docs/results.md): what the process and a worker have resident whatever the model, and how much of what follows from
// shapes is resident at the same moment.
const BASE_BYTES = 335e6
export const WORKER_BYTES = 68e6
const AT_ONCE = 0.9
const F32 = 4
/** Rows of one attention job, of one job of a dense FF layer, and of one product of a sum. */
const ATTENTION_ROWS = 1024
const DENSE_FFN_ROWS = 4096
const GRAM_ROWS = 2048

/** Resident bytes of the process with its workers, at most. */
export function peakBytes(model: OpenedModel, options: Resolved, way: Way): number {
  const main = mainBytes(model, options, way)
  const worker = workerBytes(model, options)
  const stages = Object.keys(main) as (keyof StageBytes)[]
  const shapes = Math.max(...stages.map((stage) => main[stage] + way.workers * worker[stage]))
  return Math.round(BASE_BYTES + way.workers * WORKER_BYTES + AT_ONCE * shapes)
}

/** What the main thread holds. */
function mainBytes(model: OpenedModel, options: Resolved, way: Way): StageBytes {
  const { hidden, ff } = model.config
  const { tokens, experts, router } = options
  const isSplit = router === 'split' && experts > 1
  const held = (way.spooled ? 0 : F32 * tokens * (2 * hidden + (isSplit ? ff : 0))) + 9 * tokens
  const widest = isSplit ? ff : hidden
  const sums = F32 * (hidden ** 2 + ff ** 2)
  const points = F32 * (tokens + Math.min(tokens, 16_384)) * strideOf(componentCount(widest, tokens))
  return {
    attention: held,
    cluster: held + (experts > 1 ? points + 6 * F32 * widest ** 2 : 0),
    prune: held + (way.expertsAtOnce + (experts > 1 ? 1 : 0)) * sums + packedBlockBytes(model, options),
  }
}

/** What a worker holds that runs the dense model, attention or FF layer. */
export function denseWorkerBytes(config: ModelConfig, sequenceLength: number): number {
  const { hidden, ff } = config
  const ffn = F32 * (matricesOf(config).length * hidden * ff + DENSE_FFN_ROWS * (3 * ff + 2 * hidden))
  return Math.max(attentionBytes(config, sequenceLength), ffn)
}

/** Attention weights of a layer, as they are read and as f32, and what one job of it computes. */
function attentionBytes({ hidden, heads, kvHeads, headDim }: ModelConfig, sequenceLength: number): number {
  const weights = F32 * hidden * headDim * (2 * heads + 2 * kvHeads)
  const rows = Math.max(ATTENTION_ROWS, sequenceLength)
  return 2 * weights + F32 * rows * (6 * hidden + 4 * heads * headDim + heads * sequenceLength)
}

/** As --max-memory takes it, rounded up. */
export function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)}M`
}

/** What one worker holds. */
function workerBytes(model: OpenedModel, options: Resolved): StageBytes {
  const { hidden, ff, gated } = model.config
  const { sequenceLength } = options
  const side = Math.max(hidden, ff)
  const square = F32 * side ** 2
  const matrix = F32 * hidden * ff
  const isNative = productsOf(options) === 'amx' && isNativeForm(model.config)
  const matrices = matricesOf({ gated }).length
  const dense = matrices * matrix + F32 * ((matrices - 1) * hidden ** 2 + ff ** 2)
  const solver = square + matrix
  const gram = square + F32 * GRAM_ROWS * 4 * ff + (isNative ? 0 : 4 * matrix)
  const solve = square + 2 * matrix
  const propagate = matrices * matrix + F32 * GRAM_ROWS * (3 * ff + hidden)
  const usesHessian = options.method === 'sparse-expansion' || options.method === 'sparsegpt'
  return {
    attention: (usesHessian ? solver : 0) + attentionBytes(model.config, sequenceLength),
    cluster: (usesHessian ? solver : 0) + F32 * (2 * hidden ** 2 + 3 * 4096 * hidden),
    prune: dense + (usesHessian ? solver : 0) + Math.max(gram, solve, propagate),
  }
}
