import type { Windows } from '../../../calibration/windows.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import type { OpenedModel } from '../../model/open.ts'
import type { Provider } from '../../runtime/session.ts'
import type { Artifact } from '../../verify/artifact.ts'
import type { FfLayer } from '../../verify/ff-layers.ts'
import type { DecoderSource } from '../open-decoder.ts'
import type { Bandwidth } from '../../verify/bandwidth.ts'
import type { DecodeParity } from '../../verify/decode-parity.ts'
import type { HireParity } from '../../verify/hire-definition.ts'
import type { Parity } from '../../verify/parity.ts'
import type { HireTimes } from '../../verify/speed-hire.ts'
import type { FfSpeed } from '../../verify/speed-ff.ts'
import type { ModelSpeed } from '../../verify/speed-model.ts'
import type { ExpertCount } from '../../verify/structure.ts'
import type { TokenBytes } from '../../verify/bytes.ts'
import type { GriffinOption, GriffinOverrides } from '../predict/griffin-option.ts'
import type { SpeedSides } from '../predict/griffin-speed.ts'
import type { EvaluateResult, Progress, Quality, TextSource } from '../types.ts'

export type VerifyOptions = GriffinOverrides & {
  /** Artifact folder; with `griffin` also a dense model folder. */
  readonly model: string
  /** Also measure decoding with the FF neurons that prompts select. @default not */
  readonly griffin?: GriffinOption
  /** Also check the HiRE of an artifact of experts; that of a dense model always is. @default false */
  readonly hire?: boolean
  /** Check the files only; nothing is run. @default false */
  readonly integrity?: boolean
  /** Held-out text. @default the bundled evaluation text */
  readonly text?: TextSource
  /** Dense model to compare with. @default the artifact's source model, when it is the embedded demo model */
  readonly dense?: string
  /** What runs and is timed. @default 'spexpand' where the native parts are there, else 'cpu' */
  readonly provider?: Provider
  readonly threads?: number
  /** Windows of text for the quality. @default 32 */
  readonly windows?: number
  /** Tokens of one window. @default 256 */
  readonly sequenceLength?: number
  /** Timed rounds of one token. @default 15 */
  readonly rounds?: number
  /** Least speed-up of a decoding step of the whole model over dense. */
  readonly minSpeedup?: number
  /** Largest mean KL from the dense model, nats. */
  readonly maxKl?: number
  /** Largest ratio of the perplexity to the dense model's. */
  readonly maxPerplexityRatio?: number
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/** A limit and what was measured against it. */
export type Gate = {
  readonly gate: string
  readonly limit: number
  readonly measured: number
  readonly passed: boolean
}

export type IntegrityReport = ExpertCount & {
  readonly files: number
  readonly bytes: number
  /** Initializers of model.onnx that lie where the weight files say. */
  readonly externalTensors: number
  /** Tensors with a checksum of their own, 0 in artifacts of older versions; their manifests have none of themselves. */
  readonly hashedTensors: number
}

export type VerifyResult = {
  readonly model: string
  /** Absent for a dense model. */
  readonly integrity?: IntegrityReport
  /** With `griffin` only. */
  readonly griffin?: GriffinVerification
  /** Of a dense model with HiRE, and with `hire`. */
  readonly hire?: HireVerification
  /** Absent when only the integrity was asked for. */
  readonly run?: RunReport
  readonly gates: readonly Gate[]
  readonly passed: boolean
  readonly wallMs: number
}

export type GriffinVerification = {
  readonly quality: EvaluateResult
  /** One token of a dense model: the FF layers and the whole model, all neurons against those selected in turns. */
  readonly speed?: {
    readonly threads: number
    readonly rounds: number
    readonly ff: SpeedSides
    readonly model: SpeedSides
  }
  /** Why something was not timed. */
  readonly speedNote?: string
}

export type HireVerification = {
  readonly provider: Provider
  /** Why this provider, when it was not asked for. */
  readonly providerChosen?: string
  readonly threads: number
  readonly rounds: number
  /** FF layers, and the softmax, that have predictors. */
  readonly parts: number
  readonly parity: readonly HireParity[]
  /** Logits of other providers against those of 'cpu', both with HiRE. */
  readonly logits: readonly Parity[]
  readonly quality: QualityReport
  readonly speed: HireTimes
}

export type RunReport = {
  readonly provider: Provider
  /** Why this provider, when it was not asked for. */
  readonly providerChosen?: string
  readonly runtime: string
  readonly threads: number
  /** Columns of all experts as each provider decodes them. */
  readonly decoding: readonly DecodeParity[]
  /** Logits of each provider against the portable form on 'cpu'. */
  readonly parity: readonly Parity[]
  /** Providers that do not run here. */
  readonly missing: readonly { readonly provider: Provider; readonly because: string }[]
  readonly quality: QualityReport
  readonly speed: SpeedReport
}

export type QualityReport = Quality & {
  readonly windows: number
  readonly sequenceLength: number
  /** Perplexity by that of the dense model. */
  readonly perplexityRatio?: number
  /** Why there is no dense model to compare with. */
  readonly note?: string
}

export type SpeedReport = {
  /** What the sparse form was compared with. */
  readonly dense: string
  readonly ff: FfSpeed
  readonly model?: ModelSpeed
  /** Why the whole model was not compared. */
  readonly modelNote?: string
  readonly bytesPerToken: TokenBytes
  readonly bandwidth: Bandwidth
  /** Share of the measured bandwidth that the FF layers reach with one token: bytes by time by bandwidth. */
  readonly bandwidthShare?: { readonly sparse: number; readonly dense: number }
}

/** What the steps of one verification share. */
export type Verification = {
  readonly options: VerifyOptions
  readonly artifact: Artifact
  readonly source: DecoderSource
  readonly layers: readonly FfLayer[]
  readonly store: TensorStore
  readonly dense: { readonly model: OpenedModel } | { readonly missing: string }
  readonly windows: Windows
  readonly provider: Provider
  readonly threads: number
}

/** Reports progress of a stage and stops the run after an abort. */
export type Tell = (stage: Progress['stage'], done: number, total: number, note?: string) => void
