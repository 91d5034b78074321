import type { Engine } from '../engine.ts'
import { denseIntermediates, ffnWithWeights } from '../ffn.ts'
import { eachChunk, gatherRows } from '../forward-jobs.ts'
import type { MatrixName } from '../jobs.ts'
import { ROLES } from '../jobs.ts'
import { RowStore } from '../rowstore.ts'
import type {
  ExperimentJob,
  NeuronOutputs,
  NeuronOutputsJob,
  PatchedFfnJob,
  PruneRowsJob,
  RowPatch,
} from './experiment-jobs.ts'

/** Runs one of the jobs of the experiments. */
export async function experimentJob(engine: Engine, job: ExperimentJob): Promise<unknown> {
  switch (job.kind) {
    case 'neuronOutputs':
      return neuronOutputs(engine, job)
    case 'pruneRows':
      return pruneRows(engine, job)
    case 'patchedFfn':
      return patchedFfn(engine, job)
  }
}

async function neuronOutputs(engine: Engine, job: NeuronOutputsJob): Promise<NeuronOutputs> {
  const { hidden: d, ff } = engine.model.config
  const blas = await engine.blas()
  const intermediates = await denseIntermediates(engine, job.layer)
  const all = job.rows.length
  const outputs = {
    front: new Float32Array((job.front.length / d) * all),
    back: new Float32Array((job.back.length / ff) * all),
  }
  let done = 0
  await eachChunk(engine, job.rows, async (rows) => {
    const X = gatherRows(job.ffnIn, rows, d)
    const product = async (W: Float32Array, inputs: number, of: Float32Array, into: Float32Array): Promise<void> => {
      const neurons = W.length / inputs
      const y = new Float32Array(neurons * rows.length)
      await blas.gemm(neurons, rows.length, inputs, W, of, y, { transB: true })
      for (let j = 0; j < neurons; j++) into.set(y.subarray(j * rows.length, (j + 1) * rows.length), j * all + done)
    }
    await product(job.front, d, X, outputs.front)
    await product(job.back, ff, (await intermediates(X, rows.length)).subarray(0, rows.length * ff), outputs.back)
    done += rows.length
  })
  return outputs
}

async function pruneRows(engine: Engine, job: PruneRowsJob): Promise<Float32Array[]> {
  const { sum: H, tokens, layer } = job
  const inputs = Math.sqrt(H.length)
  for (let i = 0, scale = 2 / tokens; i < H.length; i++) H[i]! *= scale
  const solver = await engine.solver()
  const name = `layer ${layer}, some rows (${tokens} tokens, ${inputs} inputs)`
  await solver.factor(H, inputs, { name })
  const pruned: Float32Array[] = []
  for (const { matrix, neurons, sparsity } of job.subsets) {
    const W = denseOf(engine, matrix, layer)
    const rows = new Float32Array(neurons.length * inputs)
    neurons.forEach((neuron, i) => rows.set(W.subarray(neuron * inputs, (neuron + 1) * inputs), i * inputs))
    const { weights } = await solver.prune(rows, neurons.length, { kind: 'unstructured', sparsity }, { name })
    pruned.push(weights)
  }
  return pruned
}

async function patchedFfn(engine: Engine, job: PatchedFfnJob): Promise<undefined> {
  const { hidden: d } = engine.model.config
  const weights = (matrix: MatrixName): Float32Array => patched(denseOf(engine, matrix, job.layer), matrix, job.patches)
  const map = await ffnWithWeights(engine, job.layer, {
    ...(engine.model.config.gated ? { gate: weights('gate_proj') } : {}),
    up: weights('up_proj'),
    down: weights('down_proj'),
  })
  const hidden = new RowStore(job.hidden)
  try {
    await eachChunk(engine, job.rows, async (rows) =>
      hidden.scatterAdd(rows, await map(gatherRows(job.ffnIn, rows, d), rows.length)),
    )
  } finally {
    hidden.close()
  }
}

function denseOf({ model }: Engine, matrix: MatrixName, layer: number): Float32Array {
  return model.matrix(ROLES[matrix], layer)
}

/** W with the patched rows of `matrix` in it; W is changed. */
function patched(W: Float32Array, matrix: MatrixName, patches: readonly RowPatch[]): Float32Array {
  for (const { neurons, weights } of patches.filter((patch) => patch.matrix === matrix)) {
    const inputs = weights.length / neurons.length
    neurons.forEach((neuron, i) => W.set(weights.subarray(i * inputs, (i + 1) * inputs), neuron * inputs))
  }
  return W
}
