/** Version of a profile file; a field may be added within one, nothing changes its meaning. */
export const PROFILE_VERSION = 1

/** Experts, and where wanted the sparsity, of every FF layer. */
export type ExpertsProfile = {
  readonly profileVersion: typeof PROFILE_VERSION
  /** SHA-256 of the dense model it was made for; another one is refused. */
  readonly sourceSha256?: string
  /** How it came about, in words. */
  readonly rule?: string
  readonly layers: readonly LayerProfile[]
}
export type LayerProfile = {
  readonly experts: number
  /** Share of zeros; that of the run where it is absent. */
  readonly sparsity?: number
}
