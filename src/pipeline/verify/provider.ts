import { UnsupportedError } from '../../errors.ts'
import type { ProviderProbe } from '../../runtime/probe.ts'
import type { Provider } from '../../runtime/session.ts'
import type { VerifyOptions } from './types.ts'

/** What is measured, why if nobody asked for it, and what else runs here. */
export type ChosenProvider = {
  readonly provider: Provider
  readonly because?: string
  readonly probes: readonly ProviderProbe[]
}

/** The provider asked for, else ours where it runs, else 'cpu'. Throws UnsupportedError when the one asked for does not run. */
export function chosenProvider({ provider }: VerifyOptions, probes: readonly ProviderProbe[]): ChosenProvider {
  const probe = probes.find((candidate) => candidate.provider === (provider ?? 'spexpand'))!
  if (provider !== undefined && !probe.works)
    throw new UnsupportedError(`Cannot verify on "${provider}": ${probe.because}: ${probe.remedy}`)
  if (provider !== undefined) return { provider, probes }
  return probe.works
    ? { provider: 'spexpand', because: 'the native operators are there', probes }
    : { provider: 'cpu', because: `spexpand does not run here: ${probe.because}`, probes }
}
