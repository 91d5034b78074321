import { foldPeakBytes } from '../../export/artifact.ts'
import { MemoryLimitError } from '../errors.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'
import type { ModelConfig } from '../model/config.ts'
import { elementCount } from '../tensor/dtype.ts'
import { matricesOf } from './jobs.ts'
import { denseWorkerBytes, megabytes, WORKER_BYTES } from './memory-model.ts'

/** What an evaluation holds besides its program: numbers of the model, of the text, and of how it is run. */
export type EvaluationShape = {
  readonly config: ModelConfig
  /** All tensors that onnxruntime loads. */
  readonly weights: Pick<TensorStore, 'tensors'>
  readonly sequenceLength: number
  readonly windows: number
  /** Worker threads of the dense model that it is compared with; 0 without one. */
  readonly denseWorkers: number
  /** Experts that the portable bodies decode, and how; not with the native operators. */
  readonly decoded?: {
    readonly stockBody: 'stream' | 'fold'
    readonly experts: number
    readonly groupSize?: number | undefined
  }
}

/** How an evaluation keeps to its memory. The numbers that come out differ by rounding at most. */
export type EvaluationMemory = {
  /** Bytes of one intermediate (tokens, ff) of a run, and of one array of logits. */
  readonly activationBytes: number
  readonly logitsBytes: number
  /** Expected peak of the resident memory of the process with its workers, bytes. */
  readonly peakBytes: number
}

// Fitted to peaks of the demo model and SmolLM2-135M, with 1 and 16 experts and runs of 3 to 50 MB (docs/results.md).
/** Runs beyond that gain no speed. */
const ACTIVATION_BYTES = 50e6
const LOGITS_BYTES = 64e6
const SMALLEST_PART = 1 / 32
/** Resident whatever the model. */
const BASE_BYTES = 290e6
/** Resident bytes of a byte of weights, of logits, and arrays of scores (heads, T, T) that onnxruntime's arena has room for. */
const PER_WEIGHT_BYTE = 1.07
const PER_LOGITS_BYTE = 6
const SCORE_ARRAYS = 7
const F32 = 4

/**
 * The largest runs that fit `limit`, bytes; without a limit those that gain speed. Throws MemoryLimitError naming the
 * smallest limit that works.
 */
export function planEvaluation(shape: EvaluationShape, limit = Infinity): EvaluationMemory {
  let way: EvaluationMemory
  let part = 1
  do {
    way = wayOf(shape, part)
    part /= 2
  } while (way.peakBytes > limit && part >= SMALLEST_PART)
  if (way.peakBytes <= limit) return way
  throw new MemoryLimitError(
    `Cannot evaluate within --max-memory ${megabytes(limit)}: the files of this model and their evaluation need about ` +
      `${megabytes(way.peakBytes)}: --max-memory ${megabytes(way.peakBytes)} is the smallest that works`,
  )
}

function wayOf(shape: EvaluationShape, part: number): EvaluationMemory {
  const { config, sequenceLength: T, denseWorkers, decoded } = shape
  const { ff, hidden, heads, vocab } = config
  const [activationBytes, logitsBytes] = [part * ACTIVATION_BYTES, part * LOGITS_BYTES]
  const windows = Math.min(shape.windows, Math.max(1, Math.floor(activationBytes / (F32 * T * Math.max(ff, hidden)))))
  const runs = F32 * windows * T * (SCORE_ARRAYS * heads * T + ff)
  const logits = PER_LOGITS_BYTE * Math.max(logitsBytes, 2 * F32 * vocab)
  const weights = matricesOf(config).length * hidden * ff * config.layers
  const bodies =
    decoded?.stockBody === 'fold'
      ? foldPeakBytes(weights, decoded.experts, decoded.groupSize)
      : decoded
        ? foldPeakBytes(hidden * ff, 1)
        : 0
  const dense = denseWorkers * (WORKER_BYTES + denseWorkerBytes(config, T))
  return {
    activationBytes,
    logitsBytes,
    peakBytes: Math.round(BASE_BYTES + weightBytes(shape) + dense + runs + logits + bodies),
  }
}

/** Weights as they lie in the files, and once more as f32 where onnxruntime casts them: all but the experts. */
function weightBytes({ config, weights }: EvaluationShape): number {
  const head = config.tied ? F32 * config.vocab * config.hidden : 0
  let bytes = head
  for (const { name, dtype, shape, byteLength } of weights.tensors.values()) {
    bytes += PER_WEIGHT_BYTE * byteLength
    const isCast = (dtype === 'F16' || dtype === 'BF16') && !name.includes('.experts.')
    if (isCast) bytes += F32 * elementCount(shape)
  }
  return bytes
}
