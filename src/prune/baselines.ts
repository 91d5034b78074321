import { ShapeError, SolverError } from '../errors.ts'
import { emptyMask } from './mask.ts'
import type { Pattern } from './pattern.ts'
import { checkPattern } from './pattern.ts'
import type { PruneOutcome } from './sparsegpt.ts'

/** Result of a method that solves nothing: no loss of its own. */
export type MaskOutcome = Omit<PruneOutcome, 'loss'>

/**
 * Wanda (Sun et al., arXiv 2306.11695): scores |W_ij| · ‖X_j‖₂ for W (outputs, inputs); unstructured: of every row the
 * ⌊inputs · sparsity⌋ lowest go, n:m: of every group the n lowest. Ties go to the lowest column.
 * Throws ShapeError or UsageError where shapes or the pattern do not fit, SolverError for scores that are not finite.
 */
export function wanda(W: Float32Array, outputs: number, inputNorms: Float32Array, pattern: Pattern): MaskOutcome {
  const inputs = inputNorms.length
  checkShape(W, outputs, inputs)
  checkPattern(pattern, inputs)
  const scores = scoresOf(W, (w, at) => Math.abs(w) * inputNorms[at % inputs]!)
  const group = pattern.kind === 'n:m' ? pattern.m : inputs
  const dropped = pattern.kind === 'n:m' ? pattern.n : Math.floor(inputs * pattern.sparsity)
  return keepHighest(W, outputs, inputs, scores, group, dropped)
}

/**
 * Magnitude pruning of W (outputs, inputs): unstructured: of the whole matrix the ⌊count · sparsity⌋ smallest |W| go,
 * n:m: of every group the n smallest. Ties go to the lowest position. Throws as wanda().
 */
export function magnitude(W: Float32Array, outputs: number, inputs: number, pattern: Pattern): MaskOutcome {
  checkShape(W, outputs, inputs)
  checkPattern(pattern, inputs)
  const scores = scoresOf(W, (w) => Math.abs(w))
  if (pattern.kind === 'n:m') return keepHighest(W, outputs, inputs, scores, pattern.m, pattern.n)
  return keepHighest(W, outputs, inputs, scores, W.length, Math.floor(W.length * pattern.sparsity))
}

function checkShape(W: Float32Array, outputs: number, inputs: number): void {
  if (W.length !== outputs * inputs)
    throw new ShapeError(`Cannot prune: W has ${W.length} weights, expected (${outputs}, ${inputs})`)
}

/** Scores in double precision: a product of two floats is exact there, so there are no ties but real ones. */
function scoresOf(W: Float32Array, score: (w: number, at: number) => number): Float64Array {
  const scores = Float64Array.from(W, score)
  const bad = scores.findIndex((s) => !Number.isFinite(s))
  if (bad >= 0) throw new SolverError(`Cannot prune: score ${scores[bad]} of weight ${bad}, expected a finite number`)
  return scores
}

/** Zeroes the `dropped` lowest scores of every `group` consecutive weights. */
function keepHighest(
  W: Float32Array,
  outputs: number,
  inputs: number,
  scores: Float64Array,
  group: number,
  dropped: number,
): MaskOutcome {
  const weights = W.slice()
  const mask = emptyMask(outputs, inputs)
  const rowBytes = (inputs + 7) >> 3
  for (let begin = 0; begin < W.length; begin += group) {
    const threshold = dropped > 0 ? kthSmallest(scores.slice(begin, begin + group), dropped - 1) : -1
    // Of the scores equal to the threshold only as many go as are missing, first come first.
    let equal = dropped
    for (let at = begin; at < begin + group; at++) if (scores[at]! < threshold) equal--
    for (let at = begin; at < begin + group; at++) {
      const isDropped = scores[at]! < threshold || (scores[at] === threshold && equal-- > 0)
      const row = Math.floor(at / inputs)
      const column = at - row * inputs
      if (isDropped) weights[at] = 0
      else mask[row * rowBytes + (column >> 3)]! |= 1 << (column & 7)
    }
  }
  return { weights, mask, zeros: (W.length / group) * dropped }
}

/** The value of rank k (0-based). Sorts `values`: these baselines are not worth a selection of their own. */
function kthSmallest(values: Float64Array, k: number): number {
  return values.sort()[k]!
}
