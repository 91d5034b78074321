import type { Progress, TextSource } from '../types.ts'

/** 'clusters': one layer in 1, 2, 4, 8 and 16 experts; 'subset': only a share of the neurons pruned, perplexity. */
export type Experiment = 'clusters' | 'subset'

export type EntangleOptions = {
  /** Model folder, or artifact folder. @default the embedded demo model */
  readonly model?: string
  /** Text whose tokens go through the model. @default the bundled calibration text */
  readonly text?: TextSource
  /** @default 131072 */
  readonly tokens?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** Seed of windows and pairs. @default 0 */
  readonly seed?: number
  /** Pairs of tokens for MD. @default 4096 */
  readonly pairs?: number
  /** Share of neurons of a matrix that count as Wasserstein neurons. @default 0.03 */
  readonly top?: number
  /** Use the native products where they beat onnxruntime's (processors with AMX); the last bits differ. @default true */
  readonly native?: boolean
  /** Worker threads. @default the processors this process may use */
  readonly threads?: number
  /** Bytes that histograms may take; fewer jobs run at a time when they are many. @default a quarter of the memory */
  readonly memoryBytes?: number
  /** Artifact only: the dense model it was made from. @default the embedded demo model, if it was made from that */
  readonly dense?: string
  /** Artifact only: a one-expert artifact of the same model to compare with. @default solved on the measured text */
  readonly baseline?: string
  /** Dense models only: controls of the paper that are run beside the measurement. @default none */
  readonly experiments?: readonly Experiment[]
  /** Decoder block of the experiment 'clusters'. @default 1 (0 where there is only one), as in the paper's figure */
  readonly layer?: number
  /**
   * Zeros of the pruned rows, fractions: 'subset' measures each, 'clusters' the first. @default 0.5, 0.8 and 0.95 for
   * 'subset', 0.7 for 'clusters'
   */
  readonly sparsities?: readonly number[]
  /** Text that 'subset' measures perplexity on. @default the bundled held-out text */
  readonly evalText?: TextSource
  /** Windows that 'subset' measures perplexity on. @default 32 */
  readonly windows?: number
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}
