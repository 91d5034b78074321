import type { Windows } from '../../../calibration/windows.ts'
import type { Router } from '../../cluster/router.ts'
import { quantiles } from '../../entangle/ranking.ts'
import type { Blas } from '../../tensor/blas.ts'
import type { RowStore } from '../rowstore.ts'

/** Rows of one product. */
const CHUNK_ROWS = 8192

/**
 * The expert of every token by the router's own float32 products (the lowest index on ties), and 10 %, 50 % and 90 %
 * quantiles of the margin: the distance (s₁ − s₂) / ‖a₁ − a₂‖ of a token from the border of its two best experts, over the
 * root mean square norm of the inputs. NaN with one expert.
 */
export async function routeWithMargins(
  store: RowStore,
  router: Router | undefined,
  blas: Blas,
): Promise<{ labels: Uint8Array; margin: [number, number, number] }> {
  const { rows, cols: d } = store.ref
  const labels = new Uint8Array(rows)
  if (!router) return { labels, margin: [NaN, NaN, NaN] }
  const k = router.bias.length
  const apart = distances(router)
  const margins = new Float64Array(rows)
  let square = 0
  for (let start = 0; start < rows; start += CHUNK_ROWS) {
    const n = Math.min(CHUNK_ROWS, rows - start)
    const X = new Float32Array(n * d)
    store.read(start, X)
    const scores = new Float32Array(n * k)
    await blas.gemm(n, k, d, X, router.weight.data, scores, { transB: true })
    for (const x of X) square += x * x
    for (let i = 0; i < n; i++) {
      const { best, second, gap } = topTwo(scores, i * k, router.bias)
      labels[start + i] = best
      margins[start + i] = gap / apart[best * k + second]!
    }
  }
  const scale = Math.sqrt(square / rows)
  const [p10, p50, p90] = quantiles(margins, [0.1, 0.5, 0.9])
  return { labels, margin: [p10! / scale, p50! / scale, p90! / scale] }
}

/** Tokens of every domain by expert, (domains, experts). */
export function usageOf(labels: Uint8Array, { domains, domainNames }: Windows, experts: number): number[][] {
  const table = domainNames.map(() => Array.from({ length: experts }, () => 0))
  for (let i = 0; i < labels.length; i++) table[domains[i]!]![labels[i]!]!++
  return table
}

function topTwo(scores: Float32Array, at: number, bias: Float32Array): { best: number; second: number; gap: number } {
  let best = -1
  let second = -1
  let first = -Infinity
  let next = -Infinity
  for (let c = 0; c < bias.length; c++) {
    // Rounded as the graph rounds it: the expert must be the one that runs.
    const score = Math.fround(scores[at + c]! + bias[c]!)
    if (score > first) {
      second = best
      next = first
      best = c
      first = score
    } else if (score > next) {
      second = c
      next = score
    }
  }
  return { best, second, gap: first - next }
}

/** ‖a_i − a_j‖ of the router's rows, (k, k). */
function distances({ weight }: Router): Float64Array {
  const { rows: k, cols: d, data } = weight
  const apart = new Float64Array(k * k)
  for (let i = 0; i < k; i++)
    for (let j = 0; j < k; j++) {
      let sum = 0
      for (let c = 0; c < d; c++) sum += (data[i * d + c]! - data[j * d + c]!) ** 2
      apart[i * k + j] = Math.sqrt(sum)
    }
  return apart
}
