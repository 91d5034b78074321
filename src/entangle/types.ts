/** Version of entanglement.json; a field may be added within one, nothing changes its meaning. */
export const REPORT_VERSION = 1

export type MatrixName = 'gate_proj' | 'up_proj' | 'down_proj'

/** What `entangle` measured, and what entanglement.json holds. Numbers that do not exist (constant outputs) are NaN. */
export type EntangleReport = {
  readonly reportVersion: typeof REPORT_VERSION
  readonly tool: { readonly name: 'spexpand'; readonly version: string }
  /** A dense model, or an artifact of compress. */
  readonly kind: 'model' | 'artifact'
  /** Name of the folder, and SHA-256 of the dense model (docs/formats.md, source.sha256). */
  readonly model: string
  readonly sourceSha256: string
  readonly shape: { readonly layers: number; readonly hidden: number; readonly ff: number }
  readonly options: ReportOptions
  /** What the matrix products were computed with; the last bits differ. */
  readonly products: 'onnxruntime' | 'amx'
  readonly text: {
    readonly documents: number
    readonly domains: Readonly<Record<string, number>> // tokens
    readonly tokensSha256: string
  }
  /** gate, up and down of every layer, in order. */
  readonly matrices: readonly MatrixReport[]
  /** Artifacts only. */
  readonly mixture?: MixtureReport
  readonly experiments?: Experiments
  /** How far a streamed WD may be from the exact one, over all neurons: a bound, not an estimate. */
  readonly wdBound: number
  /** Whatever did not go the plain way. */
  readonly notes: readonly string[]
}

export type ReportOptions = {
  readonly tokens: number
  readonly sequenceLength: number
  readonly seed: number
  /** Pairs of tokens for MD. */
  readonly pairs: number
  /** Share of neurons of a matrix that count as Wasserstein neurons. */
  readonly top: number
}

/** One matrix: a column per measure, an entry per neuron (row of the matrix). */
export type MatrixReport = {
  readonly layer: number
  readonly matrix: MatrixName
  readonly wd: readonly number[]
  readonly md: readonly number[]
  readonly mean: readonly number[]
  readonly variance: readonly number[]
  /** E(y − mean)⁴ / variance²; 3 for a normal. */
  readonly kurtosis: readonly number[]
  /** Mean |w| of the neuron's weights. */
  readonly weight: readonly number[]
  /** Neurons with WD strictly above the (1 − top) quantile of this matrix, most entangled first. */
  readonly wasserstein: readonly number[]
  /** Outputs of the most entangled ones: shares in even intervals over ±4 standard deviations. */
  readonly shapes: readonly { readonly neuron: number; readonly shares: readonly number[] }[]
  /** Artifacts only. */
  readonly expansion?: MatrixExpansion
}

/** What expansion did to every neuron of a matrix. */
export type MatrixExpansion = {
  /** WD and MD of the dense neuron on the tokens of each expert, weighted by their share of tokens. */
  readonly expertWd: readonly number[]
  readonly expertMd: readonly number[]
  /** The same for random groups of the same sizes: what splitting alone does. */
  readonly randomWd: readonly number[]
  /** RMSE of the one-expert baseline over RMSE of the mixture, against the dense outputs; 1 = no gain. */
  readonly ri: readonly number[]
  /** W₁ between pruned and dense outputs, in dense standard deviations: mixture, one expert. */
  readonly prunedWd: readonly number[]
  readonly baselinePrunedWd: readonly number[]
  /** RMSE over the root mean square of the dense outputs: mixture, one expert. */
  readonly error: readonly number[]
  readonly baselineError: readonly number[]
  /** Zeros of the neuron's weights over all experts, fraction. */
  readonly sparsity: readonly number[]
  /** Relative error of every expert over all neurons. */
  readonly errorPerExpert: readonly number[]
}

export type MixtureReport = {
  readonly experts: number
  readonly sparsity: number
  /** Where the one-expert baseline came from: solved on the measured text, or another artifact. */
  readonly baseline: string
  readonly layers: readonly LayerMixture[]
}
export type LayerMixture = {
  readonly layer: number
  readonly tokensPerExpert: readonly number[]
  /** Only with the split router: tokens per expert of the down projection. */
  readonly tokensPerDownExpert?: readonly number[]
  /** Tokens of every domain by expert, in the order of text.domains: (domains, experts). */
  readonly usage: readonly (readonly number[])[]
  /**
   * Distance of a token from the border between its two best experts, over the root mean square norm of the inputs:
   * 10 %, 50 % and 90 % quantile.
   */
  readonly margin: readonly [number, number, number]
}

export type Experiments = {
  readonly clusters?: ClustersExperiment
  readonly subset?: SubsetExperiment
}

/** One layer expanded into 1, 2, 4 … experts: what happens to its most entangled neurons, and to others. */
export type ClustersExperiment = {
  readonly layer: number
  /** Zeros of every expert, fraction. */
  readonly sparsity: number
  readonly rows: readonly ClusterRow[]
}
export type ClusterRow = {
  readonly experts: number
  /** How tokens were given to experts: by the router, or at random in groups of the same sizes. */
  readonly grouping: 'clusters' | 'random'
  readonly matrix: MatrixName
  readonly neuron: number
  /** One of the Wasserstein neurons of its matrix, or one drawn from the others. */
  readonly group: 'wasserstein' | 'other'
  /** Error of one expert over that of these experts, against the dense outputs. */
  readonly ri: number
  /** WD of the dense outputs on the tokens of each expert, weighted by their share. */
  readonly expertWd: number
  /** W₁ between pruned and dense outputs over all tokens, in dense standard deviations. */
  readonly prunedWd: number
}

/** How the neurons of a matrix that are pruned were chosen: those with the largest measure, or at random. */
export type NeuronChoice = 'wd' | 'mean' | 'variance' | 'weight' | 'random'

/** Only a share of the neurons of every FF matrix pruned, chosen in different ways; the quality that follows. */
export type SubsetExperiment = {
  /** Share of the neurons of a matrix that are pruned. */
  readonly top: number
  readonly densePerplexity: number
  readonly denseStandardError: number
  readonly targets: number
  readonly rows: readonly SubsetRow[]
}
export type SubsetRow = {
  readonly choice: NeuronChoice
  /** Zeros of the chosen rows together, fraction. */
  readonly sparsity: number
  readonly perplexity: number
  readonly standardError: number
  /** Mean KL(dense ‖ pruned), nats. */
  readonly kl: number
}
