import { ShapeError, SolverError } from '../errors.ts'
import type { Pattern } from './pattern.ts'
import { checkPattern } from './pattern.ts'
import type { PruneOutcome } from './sparsegpt.ts'

/** Masks without reconstruction: kept weights stay as they are, so there is no loss to account for. */
export type MaskOutcome = Omit<PruneOutcome, 'loss'>

/**
 * Wanda (Sun et al., arXiv 2306.11695): scores |W_ij| · ‖X_j‖₂; in every row the ⌊inputs · sparsity⌋ lowest go.
 * W (outputs, inputs) · inputNorms (inputs). Ties go to the lowest column.
 */
export function wanda(W: Float32Array, outputs: number, inputNorms: Float32Array, pattern: Pattern): MaskOutcome {
  const inputs = inputNorms.length
  const scores = Float32Array.from(W, (w, at) => Math.abs(w) * inputNorms[at % inputs]!)
  return prune(W, scores, outputs, inputs, pattern, inputs)
}

/** Magnitude pruning: the ⌊count · sparsity⌋ lowest |w| of the whole matrix (outputs, inputs) go. */
export function magnitude(W: Float32Array, outputs: number, inputs: number, pattern: Pattern): MaskOutcome {
  return prune(W, Float32Array.from(W, Math.abs), outputs, inputs, pattern, W.length)
}

/** Removes the lowest scores of every `group` consecutive weights, or of every m of the n:m pattern. */
function prune(
  W: Float32Array,
  scores: Float32Array,
  outputs: number,
  inputs: number,
  pattern: Pattern,
  group: number,
): MaskOutcome {
  if (W.length !== outputs * inputs)
    throw new ShapeError(`Cannot prune ${W.length} weights as (${outputs}, ${inputs}): that needs ${outputs * inputs}`)
  checkPattern(pattern, inputs)
  const bad = scores.findIndex((score) => !Number.isFinite(score))
  if (bad >= 0) throw new SolverError(`Cannot prune: the score of weight ${bad} is ${scores[bad]}, wanted finite numbers`)
  const size = pattern.kind === 'n:m' ? pattern.m : group
  const count = pattern.kind === 'n:m' ? pattern.n : Math.floor(group * pattern.sparsity)
  const weights = W.slice()
  const rowBytes = Math.ceil(inputs / 8)
  const mask = new Uint8Array(outputs * rowBytes)
  for (let i = 0; i < outputs; i++) for (let j = 0; j < inputs; j++) mask[i * rowBytes + (j >> 3)]! |= 1 << (j & 7)
  for (let start = 0; start < W.length; start += size)
    for (const at of lowest(scores, start, size, count)) {
      weights[at] = 0
      const i = Math.floor(at / inputs)
      const j = at - i * inputs
      mask[i * rowBytes + (j >> 3)]! &= ~(1 << (j & 7))
    }
  return { weights, mask, zeros: (W.length / size) * count }
}

/** Indices of the `count` lowest of scores[start … start + size), ties to the lowest index. */
function lowest(scores: Float32Array, start: number, size: number, count: number): number[] {
  if (count === 0) return []
  const part = scores.subarray(start, start + size)
  const threshold = part.toSorted()[count - 1]!
  const below: number[] = []
  const ties: number[] = []
  for (let j = 0; j < size; j++)
    if (part[j]! < threshold) below.push(start + j)
    else if (part[j] === threshold) ties.push(start + j)
  return [...below, ...ties.slice(0, count - below.length)]
}
