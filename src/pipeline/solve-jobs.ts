import { createGram } from '../linalg/gram.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import { packExpert, packOnGrid } from '../mixture/expert.ts'
import { gridOf } from '../mixture/values.ts'
import type { MaskOutcome } from '../prune/baselines.ts'
import { magnitude, wanda } from '../prune/baselines.ts'
import { assertFinite } from '../prune/finite.ts'
import { roundToGrid } from '../prune/grid.ts'
import { outputNorm, reconstructionLoss, undampedLoss } from '../prune/loss.ts'
import type { Engine } from './engine.ts'
import { denseIntermediates, prunedIntermediates } from './ffn.ts'
import { eachChunk, gatherRows } from './forward-jobs.ts'
import type { GramJob, SolveJob, SolveResult } from './jobs.ts'

/** Σ x xᵀ over the FF inputs or the intermediates of some rows. */
export async function gram(engine: Engine, job: GramJob): Promise<Float32Array> {
  const { hidden: d, ff } = engine.model.config
  // Rounding the intermediates to bf16 moves H by less than a thousandth of its damping, and theirs is the largest product.
  const isFront = job.source === 'inputs'
  const sum = createGram(await engine.blas(), isFront ? d : ff, !isFront)
  const read = job.source === 'inputs' ? inputsOf(job, d) : await intermediatesOf(engine, job)
  await eachChunk(engine, job.rows, async (rows) => sum.add(await read(rows)))
  return sum.finish()
}

/** FF inputs of some rows. */
function inputsOf(job: GramJob, d: number): (rows: Uint32Array) => Promise<Float32Array> {
  return async (rows) => gatherRows(job.ffnIn, rows, d)
}

/** Intermediates of some rows: stored ones, those of pruned matrices, or the dense ones. */
async function intermediatesOf(engine: Engine, job: GramJob): Promise<(rows: Uint32Array) => Promise<Float32Array>> {
  const { hidden: d, ff } = engine.model.config
  const { stored, pruned } = job
  if (stored) return async (rows) => gatherRows(stored, rows, ff)
  const map = pruned
    ? await prunedIntermediates(engine, job.layer, pruned)
    : await denseIntermediates(engine, job.layer)
  return async (rows) => map(gatherRows(job.ffnIn, rows, d), rows.length)
}

/** Prunes matrices of one layer that share an input, for one cluster of tokens. */
export async function solve(engine: Engine, job: SolveJob): Promise<SolveResult[]> {
  const inputs = Math.sqrt(job.sum.length)
  const H = job.sum
  for (let i = 0, scale = 2 / job.tokens; i < H.length; i++) H[i]! *= scale
  const name = `layer ${job.layer} ${job.matrices.join(' and ')} ${job.label} (${job.tokens} tokens, ${inputs} inputs)`
  const usesHessian = job.method === 'sparse-expansion' || job.method === 'sparsegpt'
  const pruneOne = usesHessian ? await sparsegptOf(engine, job, H, inputs, name) : maskOf(engine, job, H, inputs, name)
  const results: SolveResult[] = []
  for (const matrixName of job.matrices) {
    const { W, G } = await engine.dense(matrixName, job.layer)
    const outputs = W.length / inputs
    const { outcome, loss, ...factor } = await pruneOne(W, outputs)
    const { underflows, ...packed } = pack(outcome, job, outputs, inputs, name)
    results.push({
      matrix: matrixName,
      ...(job.keep ? { packed } : {}),
      zeros: outcome.zeros,
      loss,
      norm: outputNorm(G, H),
      ...factor,
      underflows,
    })
  }
  return results
}

/** What a solve gives in the form that is stored. */
function pack(
  { weights, mask, scales }: MaskOutcome,
  { values }: SolveJob,
  outputs: number,
  inputs: number,
  name: string,
): PackedExpert & { readonly underflows: number } {
  if (!('groupSize' in values)) return packExpert(weights, mask, outputs, inputs, name, values.type)
  return { ...packOnGrid(weights, mask, outputs, inputs, { grid: gridOf(values)!, scales: scales! }), underflows: 0 }
}

type PrunedMatrix = Pick<SolveResult, 'loss' | 'damping' | 'factorizations' | 'deadInputs'> & { outcome: MaskOutcome }
type PruneOne = (W: Float32Array, outputs: number) => Promise<PrunedMatrix>

/** SparseGPT: one factorisation for all matrices of the job. */
async function sparsegptOf(
  engine: Engine,
  job: SolveJob,
  H: Float32Array,
  inputs: number,
  name: string,
): Promise<PruneOne> {
  const solver = await engine.solver()
  const { damping, dampingMax, pattern, values, refine = 0 } = job
  const grid = gridOf(values)
  const factor = await solver.factor(H, inputs, { damping, dampingMax, name })
  return async (W, outputs) => {
    const outcome = await solver.prune(W, outputs, pattern, { name, refine, ...(grid ? { grid } : {}) })
    return {
      outcome,
      loss: undampedLoss(outcome.loss, W, outcome.weights, factor, inputs),
      damping: factor.damping,
      factorizations: factor.factorizations,
      deadInputs: factor.deadInputs.length,
    }
  }
}

/** Wanda or magnitude: a mask, the kept weights as they are or rounded to the nearest of the grid. */
function maskOf(engine: Engine, job: SolveJob, H: Float32Array, inputs: number, name: string): PruneOne {
  assertFinite(H, inputs, `H of ${name}`)
  const dead = deadInputs(H, inputs)
  const grid = gridOf(job.values)
  return async (W, outputs) => {
    const masked =
      job.method === 'wanda'
        ? wanda(W, outputs, inputNorms(H, inputs, job.tokens), job.pattern)
        : magnitude(W, outputs, inputs, job.pattern)
    const outcome = grid ? { ...masked, ...roundToGrid(masked.weights, outputs, inputs, grid, name) } : masked
    const { loss } = await reconstructionLoss(await engine.blas(), W, outcome.weights, H, outputs, inputs)
    return { outcome, loss, damping: 0, factorizations: 0, deadInputs: dead }
  }
}

/** ‖X_j‖₂ of every input, from the diagonal of H = 2/n · Σ x xᵀ. */
function inputNorms(H: Float32Array, inputs: number, tokens: number): Float32Array {
  return Float32Array.from({ length: inputs }, (_, j) => Math.sqrt((H[j * inputs + j]! * tokens) / 2))
}

function deadInputs(H: Float32Array, inputs: number): number {
  let dead = 0
  for (let j = 0; j < inputs; j++) if (H[j * inputs + j] === 0) dead++
  return dead
}
