import { ShapeError } from '../errors.ts'
import { normalQuantile } from './normal.ts'

type Numbers = Float32Array | Float64Array

/**
 * WD of a neuron (arXiv 2405.15756): W₁ between its standardised outputs (population standard deviation) and N(0, 1),
 * mean_i |z_(i) − Φ⁻¹((i − ½)/n)|. NaN for constant outputs, which cannot be standardised.
 */
export function wassersteinToNormal(y: Numbers): number {
  const z = standardized(y).sort()
  let sum = 0
  for (let i = 0; i < z.length; i++) sum += Math.abs(z[i]! - normalQuantile((i + 0.5) / z.length))
  return sum / z.length
}

/** (y − mean) / population standard deviation, in float64. */
export function standardized(y: Numbers): Float64Array {
  const { mean, deviation } = momentsOf(y)
  const scale = 1 / deviation
  return Float64Array.from(y, (value) => (value - mean) * scale)
}

/** Population standard deviation, in float64. */
export function standardDeviation(y: Numbers): number {
  return momentsOf(y).deviation
}

function momentsOf(y: Numbers): { mean: number; deviation: number } {
  const n = y.length
  let mean = 0
  for (let i = 0; i < n; i++) mean += y[i]!
  mean /= n
  let square = 0
  for (let i = 0; i < n; i++) square += (y[i]! - mean) ** 2
  return { mean, deviation: Math.sqrt(square / n) }
}

/**
 * W₁ between two samples of any sizes, the area between their distribution functions (Vallender 1974). Throws ShapeError
 * when one is empty.
 */
export function wasserstein1(a: Numbers, b: Numbers): number {
  if (a.length === 0 || b.length === 0)
    throw new ShapeError(`Cannot compare samples of ${a.length} and ${b.length} numbers: both need at least one`)
  const A = Float64Array.from(a).sort()
  const B = Float64Array.from(b).sort()
  let area = 0
  let i = 0
  let j = 0
  let at = Math.min(A[0]!, B[0]!)
  while (i < A.length || j < B.length) {
    const next = Math.min(i < A.length ? A[i]! : Infinity, j < B.length ? B[j]! : Infinity)
    area += (next - at) * Math.abs(i / A.length - j / B.length)
    at = next
    while (i < A.length && A[i] === at) i++
    while (j < B.length && B[j] === at) j++
  }
  return area
}
