import type { Quality } from '../pipeline/types.ts'
import type { Scores } from './score.ts'

/** Sums over the targets of one window; everything in float64. */
type WindowSums = { targets: number; nll: number; denseNll: number; kl: number; agrees: number }

/** Collects the scores of targets, window by window, and gives means with their sampling error. */
export class QualitySums {
  private readonly windows = new Map<number, WindowSums>()
  private hasDense = true

  /** Adds target `i` of `scores`, which belongs to `window`. */
  add(window: number, scores: Scores, i: number): void {
    let sums = this.windows.get(window)
    if (!sums) this.windows.set(window, (sums = { targets: 0, nll: 0, denseNll: 0, kl: 0, agrees: 0 }))
    sums.targets++
    sums.nll += scores.nll[i]!
    if (!scores.dense) {
      this.hasDense = false
      return
    }
    sums.denseNll += scores.dense.nll[i]!
    sums.kl += scores.dense.kl[i]!
    sums.agrees += scores.dense.agrees[i]!
  }

  /** Whether anything was added. */
  get isEmpty(): boolean {
    return this.windows.size === 0
  }

  /**
   * Perplexity exp(m) of the mean NLL m over targets. Its standard error treats windows as the sample (tokens of one
   * window are far from independent): by the delta method exp(m) · sqrt(n/(n−1) · Σ (S − m N)²) / Σ N, where window w has
   * N targets with NLL sum S. NaN with fewer than two windows.
   */
  quality(): Quality {
    const windows = [...this.windows.values()]
    const total = (field: keyof WindowSums): number => windows.reduce((sum, window) => sum + window[field], 0)
    const targets = total('targets')
    const nll = total('nll') / targets
    const n = windows.length
    const spread = windows.reduce((sum, window) => sum + (window.nll - nll * window.targets) ** 2, 0)
    const error = n < 2 ? Number.NaN : Math.sqrt((n / (n - 1)) * spread) / targets
    const perplexity = Math.exp(nll)
    return {
      targets,
      perplexity,
      standardError: perplexity * error,
      nll,
      ...(this.hasDense
        ? {
            kl: total('kl') / targets,
            topOneAgreement: total('agrees') / targets,
            densePerplexity: Math.exp(total('denseNll') / targets),
          }
        : {}),
    }
  }
}
