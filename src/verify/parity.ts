import type { Provider } from '../runtime/session.ts'
import type { Decoder, DecoderOptions } from './decoder.ts'
import { createDecoder } from './decoder.ts'
import type { WindowIds } from './hidden.ts'

/** Distance of a provider's logits from those of the portable form on the same tokens. */
export type Parity = {
  readonly provider: Provider
  /** Rows of logits compared: whole windows, and the last tokens of each one by one through the cache. */
  readonly rows: number
  /** Largest difference of two logits, and the same relative to the largest logit. */
  readonly maxDifference: number
  readonly relativeDifference: number
  /** Mean KL(portable ‖ provider), nats, and the share of rows with the same top token. */
  readonly kl: number
  readonly topOneAgreement: number
}

/** Tokens at the end of each window that also go through the cache. */
const CACHED_TOKENS = 4

/**
 * Compares the logits of each provider with those of the portable form on 'cpu', on the first `windows.nWindows` windows.
 * Throws UnsupportedError when a provider cannot run the artifact.
 */
export async function compareProviders(
  source: Omit<DecoderOptions, 'provider'>,
  providers: readonly Provider[],
  windows: WindowIds,
  onProgress?: (done: number, total: number) => void,
): Promise<Parity[]> {
  const total = windows.nWindows * (1 + providers.length)
  let done = 0
  const step = (): void => onProgress?.(++done, total)
  const reference = await allLogits(source, 'cpu', windows, step)
  const results: Parity[] = []
  for (const provider of providers)
    results.push(parityOf(provider, reference, await allLogits(source, provider, windows, step)))
  return results
}

/** Logits (rows, vocab) in pieces, in a fixed order. */
export type Rows = { readonly logits: readonly Float32Array[]; readonly vocab: number }

async function allLogits(
  source: Omit<DecoderOptions, 'provider'>,
  provider: Provider,
  { ids, nWindows, sequenceLength }: WindowIds,
  step: () => void,
): Promise<Rows> {
  const decoder = await createDecoder({ ...source, provider })
  const logits: Float32Array[] = []
  try {
    for (let w = 0; w < nWindows; w++) {
      const window = [...ids.subarray(w * sequenceLength, (w + 1) * sequenceLength)]
      logits.push(...(await windowLogits(decoder, window)))
      step()
    }
    return { logits, vocab: decoder.vocab }
  } finally {
    await decoder.release()
  }
}

/** Logits of the whole window, then those of its end through the cache. */
async function windowLogits(decoder: Decoder, window: readonly number[]): Promise<Float32Array[]> {
  decoder.reset()
  const rows = [await decoder.all(window)]
  const end = Math.max(1, window.length - CACHED_TOKENS)
  decoder.reset()
  rows.push(await decoder.step(window.slice(0, end)))
  for (const id of window.slice(end)) rows.push(await decoder.step([id]))
  return rows
}

/** Distance of `other` from `reference`, row by row. */
export function parityOf(provider: Provider, reference: Rows, other: Rows): Parity {
  const { vocab } = reference
  let rows = 0
  let largest = 0
  let maxDifference = 0
  let kl = 0
  let agrees = 0
  for (const [i, expected] of reference.logits.entries()) {
    const found = other.logits[i]!
    for (let j = 0; j < expected.length; j++) {
      maxDifference = Math.max(maxDifference, Math.abs(expected[j]! - found[j]!)) // NaN stays
      largest = Math.max(largest, Math.abs(expected[j]!))
    }
    for (let at = 0; at < expected.length; at += vocab) {
      const row = compareRows(expected.subarray(at, at + vocab), found.subarray(at, at + vocab))
      kl += row.kl
      agrees += Number(row.agrees)
      rows++
    }
  }
  const relativeDifference = maxDifference === 0 ? 0 : maxDifference / largest
  return { provider, rows, maxDifference, relativeDifference, kl: kl / rows, topOneAgreement: agrees / rows }
}

/** KL(softmax(p) ‖ softmax(q)) and whether both have the same top. */
function compareRows(p: Float32Array, q: Float32Array): { kl: number; agrees: boolean } {
  const [logP, logQ] = [logNormaliser(p), logNormaliser(q)]
  let kl = 0
  let [topP, topQ] = [0, 0]
  for (let i = 0; i < p.length; i++) {
    const a = p[i]! - logP
    kl += Math.exp(a) * (a - (q[i]! - logQ))
    if (p[i]! > p[topP]!) topP = i
    if (q[i]! > q[topQ]!) topQ = i
  }
  return { kl, agrees: topP === topQ }
}

function logNormaliser(x: Float32Array): number {
  let max = -Infinity
  for (let i = 0; i < x.length; i++) max = Math.max(max, x[i]!)
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += Math.exp(x[i]! - max)
  return max + Math.log(sum)
}
