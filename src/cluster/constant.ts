import type { Mat } from '../tensor/mat.ts'
import { matOf } from '../tensor/mat.ts'
import type { Router } from './router.ts'

/** A linear function of the inputs that is nearly 1 on all of them. */
export type ConstantDirection = {
  readonly v: Float64Array // (d)
  /** Share of 1 that it explains, 1 − E (v·x − 1)²: 1 where it is 1 on every input, 0 where the inputs have no mean. */
  readonly constancy: number
}

/** Products with the covariance: the first ones bring all but the last digits, which nothing needs. */
const MAX_PRODUCTS = 100
/** Stop when the residual has fallen to this fraction of the mean. */
const TOLERANCE = 1e-4

/**
 * The v with the least E (v·x − 1)²: a multiple of S⁻¹ μ (Sherman & Morrison 1950), S (d, d) the covariance and μ (d) the
 * mean of the inputs. By conjugate gradients with the diagonal of S: wherever they stop, the multiple is the best one for
 * the direction that they found.
 */
export function constantDirection(S: Float32Array, mean: Float64Array): ConstantDirection {
  const d = mean.length
  const diagonal = Float64Array.from({ length: d }, (_, i) => S[i * d + i])
  // Inputs that never move would be divided by 0; one of them alone is a perfect constant.
  const ridge = 1e-6 * (diagonal.reduce((sum, value) => sum + value, 0) / d) || 1e-12
  const u = new Float64Array(d)
  const r = Float64Array.from(mean)
  const z = r.map((value, i) => value / (diagonal[i] + ridge))
  const p = Float64Array.from(z)
  const target = TOLERANCE ** 2 * dot(mean, mean)
  for (let products = 0, rz = dot(r, z); products < MAX_PRODUCTS && dot(r, r) > target; products++) {
    const Sp = multiply(S, p, ridge)
    const alpha = rz / dot(p, Sp)
    for (let i = 0; i < d; i++) {
      u[i] += alpha * p[i]
      r[i] -= alpha * Sp[i]
      z[i] = r[i] / (diagonal[i] + ridge)
    }
    const next = dot(r, z)
    for (let i = 0; i < d; i++) p[i] = z[i] + (next / rz) * p[i]
    rz = next
  }
  const along = dot(mean, u) // E u·x
  const square = dot(u, multiply(S, u, 0)) + along ** 2 // E (u·x)²
  if (!(square > 0)) return { v: u, constancy: 0 }
  return { v: u.map((value) => value * (along / square)), constancy: along ** 2 / square }
}

/** A router without bias: what each expert's bias is more than the mean one is added along v. */
export function carryBias({ weight, bias }: Router, { v }: ConstantDirection): Router {
  const W: Mat = matOf(weight.rows, weight.cols, Float32Array.from(weight.data))
  const mean = bias.reduce((sum, value) => sum + value, 0) / bias.length
  for (let k = 0; k < W.rows; k++) for (let j = 0; j < W.cols; j++) W.data[k * W.cols + j] += (bias[k] - mean) * v[j]
  return { weight: W, bias: new Float32Array(bias.length) }
}

/** (S + ridge I) p, sums in float64. */
function multiply(S: Float32Array, p: Float64Array, ridge: number): Float64Array {
  const d = p.length
  const out = new Float64Array(d)
  for (let i = 0; i < d; i++) {
    let sum = ridge * p[i]
    for (let j = 0, at = i * d; j < d; j++) sum += S[at + j] * p[j]
    out[i] = sum
  }
  return out
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i]
  return sum
}
