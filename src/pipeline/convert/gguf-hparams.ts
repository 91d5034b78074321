import type { GgufValue } from '../../formats/gguf/writer.ts'
import type { ModelConfig } from '../../model/config.ts'
import { inverseFrequencies } from '../../model/rope.ts'
import { TOOL_VERSION } from '../../version.ts'
import type { MoeSource } from './moe-source.ts'

/** Types of the whole file (llama.h, enum llama_ftype): what most weights are. */
const FILE_TYPES: Readonly<Record<string, number>> = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 }
/** Of the quantised kinds; there has been no other since 2023. */
const QUANTIZATION_VERSION = 2
/** llama.cpp reads a float32. */
const CLOSE = 1e-6

/** What of a model's configuration the llama kind of GGUF file has no key for, or llama.cpp computes in another way. */
export function ggufObstacles(config: ModelConfig): readonly string[] {
  const { rope, activation, slidingWindow, maxPositions } = config
  const found: [boolean, string][] = [
    [activation !== 'silu', `the activation ${activation}`],
    [slidingWindow !== null && slidingWindow < maxPositions, `a window of ${slidingWindow} keys`],
    [rope?.type === 'dynamic' || rope?.type === 'longrope', `the rotary scaling ${rope?.type}`],
    [
      rope?.type === 'yarn' &&
        (!rope.truncate || Math.abs(rope.attentionFactor - (1 + 0.1 * Math.log(rope.factor))) > CLOSE),
      'yarn with its own attention factor or bounds',
    ],
  ]
  return found.flatMap(([is, what]) => (is ? [what] : []))
}

/** Metadata of the llama architecture (llama.cpp, llama-arch.cpp), and where the file comes from. */
export function hparamsOf(source: MoeSource, kind: string): [string, GgufValue][] {
  const { config, manifest, experts } = source
  return [
    ['general.architecture', text('llama')],
    ['general.type', text('model')],
    ['general.name', text(manifest.source.name)],
    ['general.file_type', u32(FILE_TYPES[kind]!)],
    ['general.quantization_version', u32(QUANTIZATION_VERSION)],
    ['llama.vocab_size', u32(config.vocab)],
    ['llama.context_length', u32(config.maxPositions)],
    ['llama.embedding_length', u32(config.hidden)],
    ['llama.block_count', u32(config.layers)],
    ['llama.feed_forward_length', u32(config.ff)],
    ['llama.attention.head_count', u32(config.heads)],
    ['llama.attention.head_count_kv', u32(config.kvHeads)],
    ['llama.attention.key_length', u32(config.headDim)],
    ['llama.attention.value_length', u32(config.headDim)],
    ['llama.attention.layer_norm_rms_epsilon', f32(config.normEps)],
    ...ropeKeys(config),
    ...(experts > 1
      ? ([
          ['llama.expert_count', u32(experts)],
          ['llama.expert_used_count', u32(1)],
        ] as [string, GgufValue][])
      : []),
    ['spexpand.tool_version', text(TOOL_VERSION)],
    ['spexpand.source_sha256', text(manifest.source.sha256)],
    ['spexpand.sparsity', f32(manifest.mixture.sparsity)],
  ]
}

function u32(value: number): GgufValue {
  return { type: 'u32', value }
}

function text(value: string): GgufValue {
  return { type: 'string', value }
}

function f32(value: number): GgufValue {
  return { type: 'f32', value }
}

function ropeKeys({ rope, headDim }: ModelConfig): [string, GgufValue][] {
  const plain: [string, GgufValue][] = [
    ['llama.rope.dimension_count', u32(headDim)],
    ['llama.rope.freq_base', f32(rope!.theta)],
  ]
  if (rope!.type === 'linear') return [...plain, ...scaling('linear', rope!.factor)]
  if (rope!.type !== 'yarn') return plain
  return [
    ...plain,
    ...scaling('yarn', rope!.factor),
    ['llama.rope.scaling.original_context_length', u32(rope!.originalMaxPositions)],
    ['llama.rope.scaling.yarn_beta_fast', f32(rope!.betaFast)],
    ['llama.rope.scaling.yarn_beta_slow', f32(rope!.betaSlow)],
  ]
}

function scaling(type: string, factor: number): [string, GgufValue][] {
  return [
    ['llama.rope.scaling.type', text(type)],
    ['llama.rope.scaling.factor', f32(factor)],
  ]
}

/** What each frequency is divided by where the file keeps that instead of a rule (Llama 3.1), (head size / 2). */
export function ropeDivisors({ rope, headDim }: ModelConfig): Float32Array | undefined {
  if (rope?.type !== 'llama3') return undefined
  const stretched = inverseFrequencies(rope, headDim)
  return inverseFrequencies({ type: 'default', theta: rope.theta }, headDim).map((f, j) => f / stretched[j]!)
}
