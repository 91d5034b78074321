import { accumulateGram } from '../linalg/gram.ts'
import { packExpert, unpackExpert } from '../mixture/expert.ts'
import { magnitude, wanda } from '../prune/baselines.ts'
import { reconstructionLoss } from '../prune/loss.ts'
import { assertFinite } from '../model/open.ts'
import type { Engine } from './engine.ts'
import { eachChunk, floats, gatherRows, matrix } from './forward-jobs.ts'
import type { GramJob, MatrixName, SolveJob, SolveResult } from './jobs.ts'
import { ROLES } from './jobs.ts'

/** Σ x xᵀ over the FF inputs or the intermediates of some rows. */
export async function gram(engine: Engine, job: GramJob): Promise<Float32Array> {
  const { hidden: d, ff } = engine.model.config
  const blas = await engine.blas()
  const inputs = job.source === 'inputs' ? d : ff
  const sum = new Float32Array(inputs * inputs)
  const intermediates = job.source === 'intermediates' ? await intermediatesOf(engine, job) : undefined
  await eachChunk(job.rows, async (rows) => {
    const x = intermediates ? await intermediates(rows) : gatherRows(job.ffnIn, rows, d)
    await accumulateGram(blas, x, rows.length, inputs, sum)
  })
  return sum
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
  const usesHessian = job.method === 'sparse-expansion' || job.method === 'sparsegpt'
  const name = `layer ${job.layer} ${job.matrices.join(' and ')} ${job.label} (${job.tokens} tokens, ${inputs} inputs)`
  const solver = usesHessian ? await engine.solver() : undefined
  const factor = await solver?.factor(H, inputs, { damping: job.damping, dampingMax: job.dampingMax, name })
  const results: SolveResult[] = []
  for (const matrixName of job.matrices) {
    const W = denseWeights(engine, job.layer, matrixName)
    const outputs = W.length / inputs
    const outcome = solver
      ? await solver.prune(W, outputs, job.pattern, { name })
      : job.method === 'wanda'
        ? wanda(W, outputs, inputNorms(H, inputs, job.tokens), job.pattern)
        : magnitude(W, outputs, inputs, job.pattern)
    const packed = packExpert(outcome.weights, outcome.mask, outputs, inputs, name)
    const stored = unpackExpert(packed, outputs, inputs)
    const { loss, norm } = await reconstructionLoss(await engine.blas(), W, stored, H, outputs, inputs)
    results.push({
      matrix: matrixName,
      ...(job.keep ? { packed: { mask: packed.mask, values: packed.values, rowStarts: packed.rowStarts } } : {}),
      zeros: outcome.zeros,
      loss,
      norm,
      damping: factor?.damping ?? 0,
      factorizations: factor?.factorizations ?? 0,
      deadInputs: factor?.deadInputs.length ?? deadInputs(H, inputs),
      underflows: packed.underflows,
    })
  }
  return results
}

/** The dense weights (out, in) of one FF matrix, checked for NaN and Inf. */
function denseWeights(engine: Engine, layer: number, matrix: MatrixName): Float32Array {
  const name = engine.model.tensorName(ROLES[matrix], layer)
  const W = engine.model.weights.readF32(name)
  assertFinite(W, name)
  return W
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
