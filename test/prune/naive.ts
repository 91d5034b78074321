// SparseGPT as published, column by column in double precision: what the fast solver must agree with.
import { createRng } from '../../src/linalg/rng.ts'
import type { Grid } from '../../src/prune/grid.ts'
import type { Pattern } from '../../src/prune/pattern.ts'

export type Naive = {
  weights: Float64Array
  kept: Uint8Array
  loss: number
  H: Float64Array
  U: Float64Array
  /** (outputs, groups) with a grid. */
  scales: Float64Array
}

/** W (out, in), H (in, in) undamped; block of 128 columns; kept weights rounded to `grid`. `H` of the result is damped. */
export function naiveSparsegpt(
  W: ArrayLike<number>,
  outputs: number,
  hessian: ArrayLike<number>,
  inputs: number,
  pattern: Pattern,
  damping = 0.01,
  grid?: Grid,
): Naive {
  const H = Float64Array.from(hessian)
  const w = Float64Array.from(W)
  for (let j = 0; j < inputs; j++)
    if (H[j * inputs + j] === 0) {
      H[j * inputs + j] = 1
      for (let i = 0; i < outputs; i++) w[i * inputs + j] = 0
    }
  let mean = 0
  for (let j = 0; j < inputs; j++) mean += H[j * inputs + j]! / inputs
  for (let j = 0; j < inputs; j++) H[j * inputs + j]! += damping * mean
  const U = upperFactorOfInverse(H, inputs)
  const kept = new Uint8Array(outputs * inputs).fill(1)
  const groups = grid ? (grid.groupSize === 0 ? 1 : Math.ceil(inputs / grid.groupSize)) : 0
  const scales = new Float64Array(outputs * groups)
  if (grid?.groupSize === 0)
    for (let i = 0; i < outputs; i++) scales[i] = naiveScale(grid, 1, [...w.subarray(i * inputs, (i + 1) * inputs)])
  let loss = 0
  for (let i1 = 0; i1 < inputs; i1 += 128) {
    const i2 = Math.min(i1 + 128, inputs)
    if (pattern.kind === 'unstructured') markBlock(w, U, kept, outputs, inputs, i1, i2, pattern.sparsity)
    for (let j = i1; j < i2; j++) {
      if (pattern.kind === 'n:m' && j % pattern.m === 0) markGroups(w, U, kept, outputs, inputs, j, pattern)
      if (grid && grid.groupSize > 0 && j % grid.groupSize === 0)
        naiveGroupScales(w, U, kept, outputs, inputs, j, pattern, grid, scales)
      for (let i = 0; i < outputs; i++) {
        if (kept[i * inputs + j] && !grid) continue
        const scale = scales[i * groups + (grid && grid.groupSize > 0 ? Math.floor(j / grid.groupSize) : 0)]!
        const q = kept[i * inputs + j] ? onGrid(w[i * inputs + j]!, scale, grid!) : 0
        const err = (w[i * inputs + j]! - q) / U[j * inputs + j]!
        loss += err * err
        w[i * inputs + j] = q
        for (let k = j + 1; k < inputs; k++) w[i * inputs + k]! -= err * U[j * inputs + k]!
      }
    }
  }
  return { weights: w, kept, loss, H, U, scales }
}

/** Scales of the columns from `first` on, over the weights that are kept, or of n:m would be as they are now. */
function naiveGroupScales(
  w: Float64Array,
  U: Float64Array,
  kept: Uint8Array,
  outputs: number,
  inputs: number,
  first: number,
  pattern: Pattern,
  grid: Grid,
  scales: Float64Array,
): void {
  const groups = Math.ceil(inputs / grid.groupSize)
  const columns = Array.from({ length: Math.min(grid.groupSize, inputs - first) }, (_, c) => first + c)
  const guess = kept.slice()
  if (pattern.kind === 'n:m' && pattern.m <= grid.groupSize)
    for (const j of columns.filter((column) => column % pattern.m === 0)) {
      for (let i = 0; i < outputs; i++) guess.fill(1, i * inputs + j, i * inputs + j + pattern.m)
      markGroups(w, U, guess, outputs, inputs, j, pattern)
    }
  for (let i = 0; i < outputs; i++) {
    const mine = columns.filter((j) => guess[i * inputs + j])
    scales[i * groups + first / grid.groupSize] = naiveScale(
      grid,
      isMostlyPruned(pattern) ? 1 : 10,
      mine.map((j) => w[i * inputs + j]!),
      mine.map((j) => 1 / U[j * inputs + j]!),
    )
  }
}

/** 8 bits: room for weights to grow; 4 bits: of some candidates that with the lowest weighted error, if there are weights. */
function naiveScale(grid: Grid, tries: number, weights: number[], importance?: number[]): number {
  const largest = Math.max(0, ...weights.map(Math.abs))
  const limit = grid.bits === 8 ? 127 : 7
  if (grid.bits === 8) return roundToF16((1.5 * largest) / limit)
  if (!importance) return roundToF16(largest / limit)
  const candidates = Array.from({ length: tries }, (_, t) => roundToF16(((1 - 0.05 * t) * largest) / limit))
  const error = (scale: number): number =>
    weights.reduce((sum, w, i) => sum + ((w - onGrid(w, scale, grid)) * importance[i]!) ** 2, 0)
  return candidates.reduce((best, scale) => (error(scale) < error(best) ? scale : best))
}

function isMostlyPruned(pattern: Pattern): boolean {
  return (pattern.kind === 'n:m' ? pattern.n / pattern.m : pattern.sparsity) > 0.5
}

function onGrid(w: number, scale: number, { bits }: Grid): number {
  const limit = bits === 8 ? 127 : 7
  return scale === 0 ? 0 : scale * Math.max(-limit, Math.min(limit, Math.round(w / scale)))
}

/** The nearest number with 11 significant bits that is a multiple of 2⁻²⁴. */
function roundToF16(x: number): number {
  const step = 2 ** Math.max(-24, Math.floor(Math.log2(x)) - 10)
  return x === 0 ? 0 : Math.max(2 ** -24, Math.round(x / step) * step)
}

function markBlock(
  w: Float64Array,
  U: Float64Array,
  kept: Uint8Array,
  outputs: number,
  inputs: number,
  i1: number,
  i2: number,
  sparsity: number,
): void {
  if (sparsity === 0) return
  const score = (i: number, j: number): number => (w[i * inputs + j]! / U[j * inputs + j]!) ** 2
  const scores: number[] = []
  for (let i = 0; i < outputs; i++) for (let j = i1; j < i2; j++) scores.push(score(i, j))
  const threshold = scores.toSorted((a, b) => a - b)[Math.floor(scores.length * sparsity)]!
  for (let i = 0; i < outputs; i++) for (let j = i1; j < i2; j++) if (score(i, j) <= threshold) kept[i * inputs + j] = 0
}

function markGroups(
  w: Float64Array,
  U: Float64Array,
  kept: Uint8Array,
  outputs: number,
  inputs: number,
  first: number,
  { n, m }: { n: number; m: number },
): void {
  for (let i = 0; i < outputs; i++) {
    const columns = Array.from({ length: m }, (_, q) => first + q)
    const score = (j: number): number => (w[i * inputs + j]! / U[j * inputs + j]!) ** 2
    // Sorting is stable: ties go to the lowest column.
    for (const j of columns.toSorted((a, b) => score(a) - score(b)).slice(0, n)) kept[i * inputs + j] = 0
  }
}

/** U upper triangular with UᵀU = H⁻¹: the inverse of M, H = M Mᵀ with M upper. */
export function upperFactorOfInverse(H: Float64Array, n: number): Float64Array {
  const M = Float64Array.from(H)
  for (let j = n - 1; j >= 0; j--) {
    const pivot = Math.sqrt(M[j * n + j]!)
    for (let i = 0; i <= j; i++) M[i * n + j]! /= pivot
    for (let c = 0; c < j; c++) for (let i = 0; i <= c; i++) M[i * n + c]! -= M[i * n + j]! * M[c * n + j]!
  }
  const U = new Float64Array(n * n)
  for (let j = 0; j < n; j++) {
    U[j * n + j] = 1 / M[j * n + j]!
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0
      for (let k = i + 1; k <= j; k++) sum += M[i * n + k]! * U[k * n + j]!
      U[i * n + j] = -sum / M[i * n + i]!
    }
  }
  return U
}

/** tr(Δ H Δᵀ), Δ = W − pruned (outputs, inputs). */
export function quadraticLoss(
  W: ArrayLike<number>,
  pruned: ArrayLike<number>,
  H: ArrayLike<number>,
  outputs: number,
  inputs: number,
): number {
  let sum = 0
  for (let i = 0; i < outputs; i++) {
    const delta = Float64Array.from({ length: inputs }, (_, j) => W[i * inputs + j]! - pruned[i * inputs + j]!)
    for (let j = 0; j < inputs; j++) for (let k = 0; k < inputs; k++) sum += delta[j]! * H[j * inputs + k]! * delta[k]!
  }
  return sum
}

export type Problem = { outputs: number; inputs: number; W: Float32Array; H: Float32Array }

/** W ~ N(0, 1) and H = 2/tokens · XᵀX of correlated inputs X (tokens, inputs), exactly symmetric. */
export function randomProblem(outputs: number, inputs: number, tokens: number, seed: number): Problem {
  const rng = createRng(seed)
  const W = Float32Array.from({ length: outputs * inputs }, () => rng.normal())
  const H = new Float64Array(inputs * inputs)
  const x = new Float64Array(inputs)
  for (let t = 0; t < tokens; t++) {
    const common = rng.normal()
    for (let j = 0; j < inputs; j++) x[j] = rng.normal() + 0.5 * common * ((j % 7) / 6)
    for (let j = 0; j < inputs; j++) for (let k = 0; k <= j; k++) H[j * inputs + k]! += (2 / tokens) * x[j]! * x[k]!
  }
  for (let j = 0; j < inputs; j++) for (let k = 0; k < j; k++) H[k * inputs + j] = H[j * inputs + k]!
  return { outputs, inputs, W, H: Float32Array.from(H) }
}

/** One byte per weight of a bit-packed mask (rows, ⌈cols / 8⌉), bit 0 first. */
export function unpackMask(mask: Uint8Array, rows: number, cols: number): Uint8Array {
  const rowBytes = Math.ceil(cols / 8)
  return Uint8Array.from({ length: rows * cols }, (_, at) => {
    const j = at % cols
    return (mask[Math.floor(at / cols) * rowBytes + (j >> 3)]! >> (j & 7)) & 1
  })
}

/** Largest |a − b|, relative to the largest |b| unless that is 0. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0
  let scale = 0
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!))
    scale = Math.max(scale, Math.abs(b[i]!))
  }
  return scale === 0 ? worst : worst / scale
}

/** Coordinate descent over kept weights (outputs, inputs), column by column, H (inputs, inputs) damped; new weights. */
export function naiveRefine(
  W: ArrayLike<number>,
  pruned: ArrayLike<number>,
  kept: Uint8Array,
  H: ArrayLike<number>,
  outputs: number,
  inputs: number,
  passes: number,
): Float64Array {
  const w = Float64Array.from(pruned)
  for (let pass = 0; pass < passes; pass++)
    for (let j = 0; j < inputs; j++)
      for (let i = 0; i < outputs; i++) {
        if (!kept[i * inputs + j]) continue
        let gradient = 0
        for (let k = 0; k < inputs; k++) gradient += (W[i * inputs + k]! - w[i * inputs + k]!) * H[k * inputs + j]!
        w[i * inputs + j]! += gradient / H[j * inputs + j]!
      }
  return w
}
