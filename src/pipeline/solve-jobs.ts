import { GramAccumulator } from '../linalg/gram.ts'
import { packExpert, unpackExpert } from '../mixture/expert.ts'
import type { MaskOutcome } from '../prune/baselines.ts'
import { magnitude, wanda } from '../prune/baselines.ts'
import { outputNorm, reconstructionLoss, undampedLoss } from '../prune/loss.ts'
import type { Engine } from './engine.ts'
import { eachChunk, floats, gatherRows, matrix } from './forward-jobs.ts'
import type { GramJob, SolveJob, SolveResult } from './jobs.ts'

/** Σ x xᵀ over the FF inputs or the intermediates of some rows. */
export async function gram(engine: Engine, job: GramJob): Promise<Float32Array> {
  const { hidden: d, ff } = engine.model.config
  const sum = new GramAccumulator(await engine.blas(), job.source === 'inputs' ? d : ff)
  const read = job.source === 'inputs' ? inputsOf(job, d) : await intermediatesOf(engine, job)
  await eachChunk(job.rows, async (rows) => sum.add(await read(rows)))
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
  const weights = pruned && {
    gate: matrix(unpackExpert(pruned.gate, ff, d), ff, d),
    up: matrix(unpackExpert(pruned.up, ff, d), ff, d),
  }
  const session = weights ? await engine.session('prunedIntermediate') : await engine.session('intermediate', job.layer)
  return async (rows) => {
    const { down_in } = await session.run({ x: matrix(gatherRows(job.ffnIn, rows, d), rows.length, d), ...weights })
    return floats(down_in)
  }
}

/** Prunes matrices of one layer that share an input, for one cluster of tokens. */
export async function solve(engine: Engine, job: SolveJob): Promise<SolveResult[]> {
  const inputs = Math.sqrt(job.sum.length)
  const H = job.sum
  for (let i = 0, scale = 2 / job.tokens; i < H.length; i++) H[i]! *= scale
  const name = `layer ${job.layer} ${job.matrices.join(' and ')} ${job.label} (${job.tokens} tokens, ${inputs} inputs)`
  const usesHessian = job.method === 'sparse-expansion' || job.method === 'sparsegpt'
  const pruneOne = usesHessian ? await sparsegptOf(engine, job, H, inputs, name) : maskOf(engine, job, H, inputs)
  const results: SolveResult[] = []
  for (const matrixName of job.matrices) {
    const { W, G } = await engine.dense(matrixName, job.layer)
    const outputs = W.length / inputs
    const { outcome, loss, ...factor } = await pruneOne(W, outputs)
    const { underflows, ...packed } = packExpert(outcome.weights, outcome.mask, outputs, inputs, name)
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
  const { damping, dampingMax, pattern } = job
  const factor = await solver.factor(H, inputs, { damping, dampingMax, name })
  return async (W, outputs) => {
    const outcome = await solver.prune(W, outputs, pattern, { name })
    return {
      outcome,
      loss: undampedLoss(outcome.loss, W, outcome.weights, factor, inputs),
      damping: factor.damping,
      factorizations: factor.factorizations,
      deadInputs: factor.deadInputs.length,
    }
  }
}

/** Wanda or magnitude: a mask, the kept weights as they are. */
function maskOf(engine: Engine, job: SolveJob, H: Float32Array, inputs: number): PruneOne {
  const dead = deadInputs(H, inputs)
  return async (W, outputs) => {
    const outcome =
      job.method === 'wanda'
        ? wanda(W, outputs, inputNorms(H, inputs, job.tokens), job.pattern)
        : magnitude(W, outputs, inputs, job.pattern)
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
