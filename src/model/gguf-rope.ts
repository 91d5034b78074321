import { UnsupportedError } from '../errors.ts'
import type { GgufFile } from '../formats/gguf/reader.ts'
import type { GgufMetadata } from './gguf-metadata.ts'

/** llama.cpp's converter has these from the only models that are scaled so (Llama 3.1 and later). */
const [LOW, HIGH] = [1, 4]
/** Contexts that models are trained with first, the one of Llama 3 in front. */
const CONTEXTS = [8192, ...Array.from({ length: 17 }, (_, i) => 2 ** (i + 4))]
/** float32 arithmetic on the way to the stored factors. */
const TOLERANCE = 1e-4

/**
 * `rope_theta` and `rope_scaling` of a config.json, from metadata and the tensors of rotary factors. Throws
 * UnsupportedError for a scaling that config.json has no words for.
 */
export function ropeConfig(meta: GgufMetadata, file: GgufFile, headDim: number): Record<string, unknown> {
  const theta = meta.number('.rope.freq_base', 10_000)
  const scaling = scalingOf(meta, file, { theta, headDim })
  return { rope_theta: theta, ...(scaling ? { rope_scaling: scaling } : {}) }
}

function scalingOf(
  meta: GgufMetadata,
  file: GgufFile,
  { theta, headDim }: { readonly theta: number; readonly headDim: number },
): Record<string, unknown> | undefined {
  if (file.tensors.has('rope_factors_long.weight')) return longrope(meta, file)
  if (file.tensors.has('rope_freqs.weight')) return llama3(meta, file, theta, headDim)
  const type = meta.text('.rope.scaling.type') ?? (meta.has('.rope.scale_linear') ? 'linear' : 'none')
  const factor = meta.number('.rope.scaling.factor', meta.number('.rope.scale_linear', 1))
  const original = meta.has('.rope.scaling.original_context_length')
    ? { original_max_position_embeddings: meta.whole('.rope.scaling.original_context_length') }
    : {}
  switch (type) {
    case 'none':
      return undefined
    case 'linear':
      return factor === 1 ? undefined : { rope_type: 'linear', factor }
    case 'yarn':
      return {
        rope_type: 'yarn',
        factor,
        ...original,
        ...(meta.has('.rope.scaling.yarn_beta_fast') ? { beta_fast: meta.number('.rope.scaling.yarn_beta_fast') } : {}),
        ...(meta.has('.rope.scaling.yarn_beta_slow') ? { beta_slow: meta.number('.rope.scaling.yarn_beta_slow') } : {}),
      }
    default:
      throw new UnsupportedError(
        `Cannot use ${meta.path}: ${meta.architecture}.rope.scaling.type is "${type}", supported are none, linear, yarn`,
      )
  }
}

/** Phi-3's long contexts: factors for short and for long texts, and how much attention is sharpened. */
function longrope(meta: GgufMetadata, file: GgufFile): Record<string, unknown> {
  return {
    rope_type: 'longrope',
    short_factor: [...file.readRowsF32('rope_factors_short.weight')],
    long_factor: [...file.readRowsF32('rope_factors_long.weight')],
    ...(meta.has('.rope.scaling.attn_factor') ? { attention_factor: meta.number('.rope.scaling.attn_factor') } : {}),
  }
}

/**
 * The file keeps what each frequency was divided by, and not the parameters of the rule (1/factor below, 1 above, a blend
 * between, by wavelength): they are found again by trying contexts of a power of two. Any that gives these divisors gives
 * this model.
 */
function llama3(
  meta: GgufMetadata,
  file: GgufFile,
  theta: number,
  headDim: number,
): Record<string, unknown> | undefined {
  const divisors = file.readRowsF32('rope_freqs.weight')
  const factor = divisors.reduce((a, b) => Math.max(a, b), 1)
  if (factor === 1 && divisors.every((divisor) => divisor === 1)) return undefined
  const context = CONTEXTS.find((length) =>
    divisors.every((divisor, j) => close(divisor, divisorOf(theta ** ((-2 * j) / headDim), factor, length))),
  )
  if (context !== undefined)
    return {
      rope_type: 'llama3',
      factor,
      low_freq_factor: LOW,
      high_freq_factor: HIGH,
      original_max_position_embeddings: context,
    }
  throw new UnsupportedError(
    `Cannot use ${meta.path}: rope_freqs.weight is not scaled by the rule of Llama 3 (low 1, high 4), the only one supported`,
  )
}

function divisorOf(frequency: number, factor: number, context: number): number {
  const wavelength = (2 * Math.PI) / frequency
  if (wavelength < context / HIGH) return 1
  if (wavelength > context / LOW) return factor
  const smooth = (context / wavelength - LOW) / (HIGH - LOW)
  return 1 / ((1 - smooth) / factor + smooth)
}

function close(a: number, b: number): boolean {
  return Math.abs(a - b) <= TOLERANCE * b
}
