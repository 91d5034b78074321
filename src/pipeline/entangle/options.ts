import type { Progress, TextSource } from '../types.ts'

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
  /** Worker threads. @default the processors this process may use */
  readonly threads?: number
  /** Bytes that histograms may take; fewer jobs run at a time when they are many. @default a quarter of the memory */
  readonly memoryBytes?: number
  /** Artifact only: the dense model it was made from. @default the embedded demo model, if it was made from that */
  readonly dense?: string
  /** Artifact only: a one-expert artifact of the same model to compare with. @default solved on the measured text */
  readonly baseline?: string
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}
