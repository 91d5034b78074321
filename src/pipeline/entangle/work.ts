import { BINS } from '../../entangle/grid.ts'
import type { Counter } from '../../entangle/counter.ts'
import { createCounter } from '../../entangle/counter.ts'
import { POWERS } from '../../entangle/histogram.ts'
import { mappingDifficulty } from '../../entangle/mapping.ts'
import { unpackExpert } from '../../mixture/expert.ts'
import type { Tensor } from '../../runtime/session.ts'
import type { Engine } from '../engine.ts'
import type { EntangleJob, MappingJob, MeasureJob, MeasureResult, PlacementJob, Placements } from './jobs.ts'
import { distance } from './distance-work.ts'
import { experimentJob } from './experiment-work.ts'
import { gatherRows } from '../forward-jobs.ts'
import type { PackedFfn } from '../jobs.ts'
import { RowStore } from '../rowstore.ts'

/** Bytes of the outputs that one run of the graph may give. */
const RUN_BYTES = 192e6
/** Rows of one run: a neuron's histogram is fetched once for all of them. */
const MAX_RUN_ROWS = 8192

/** Runs one of the jobs that measure neurons. */
export async function entangleJob(engine: Engine, job: EntangleJob): Promise<unknown> {
  switch (job.kind) {
    case 'placement':
      return placement(engine, job)
    case 'mapping':
      return mapping(engine, job)
    case 'measure':
      return measure(engine, job)
    case 'distance':
      return distance(job)
    default:
      return experimentJob(engine, job)
  }
}

/** Outputs of one matrix: `data` (neurons, rows), the first neuron of the layer's numbering, and its inputs' width. */
type Outputs = { readonly data: Float32Array; readonly first: number; readonly neurons: number; readonly rows: number }

/** Calls `body` with the outputs of gate, up and down for pieces of the rows, in order. */
async function eachRun(
  engine: Engine,
  job: Pick<MeasureJob, 'layer' | 'rows' | 'ffnIn'>,
  more: readonly string[],
  body: (outputs: Outputs[], run: { rows: Uint32Array; x: Tensor; results: Record<string, Tensor> }) => unknown,
): Promise<void> {
  const { hidden: d, ff } = engine.model.config
  const session = await engine.session('measure', job.layer)
  const parts = partsOf(engine)
  const perRun = Math.min(MAX_RUN_ROWS, Math.max(256, Math.floor(RUN_BYTES / (4 * (3 * ff + 2 * d)))))
  for (let start = 0; start < job.rows.length; start += perRun) {
    const rows = job.rows.subarray(start, start + perRun)
    const x = matrix(gatherRows(job.ffnIn, rows, d), rows.length, d)
    const results = await session.run({ x }, [...parts.map(({ name }) => name), ...more])
    const outputs = parts.map(({ name, ...part }) => ({ data: floats(results[name]), ...part, rows: rows.length }))
    await body(outputs, { rows, x, results })
  }
}

type Part = { readonly name: 'gate' | 'up' | 'down'; readonly first: number; readonly neurons: number }

/** The matrices of a layer in the numbering of its neurons; without a gate up comes first. */
function partsOf({ model }: Engine): readonly Part[] {
  const { hidden, ff, gated } = model.config
  const front = gated ? (['gate', 'up'] as const) : (['up'] as const)
  return [
    ...front.map((name, i) => ({ name, first: i * ff, neurons: ff })),
    { name: 'down', first: front.length * ff, neurons: hidden },
  ]
}

function neuronCount(engine: Engine): number {
  const { first, neurons } = partsOf(engine).at(-1)!
  return first + neurons
}

async function placement(engine: Engine, job: PlacementJob): Promise<Placements> {
  const count = neuronCount(engine)
  const [sum, square] = [new Float64Array(count), new Float64Array(count)]
  await eachRun(engine, job, [], (outputs) => {
    for (const { data, first, neurons, rows } of outputs)
      for (let j = 0; j < neurons; j++)
        for (let i = j * rows, end = i + rows; i < end; i++) {
          sum[first + j]! += data[i]!
          square[first + j]! += data[i]! * data[i]!
        }
  })
  const n = job.rows.length
  const centre = sum.map((s) => s / n)
  // Outputs that are constant in the sample still need a scale; any will do.
  const scale = square.map((s, j) => Math.sqrt(Math.max(0, s / n - centre[j]! ** 2)) || 1)
  return { centre, scale }
}

async function mapping(engine: Engine, job: MappingJob): Promise<Float64Array> {
  const pairs = job.first.length
  const { hidden: d, ff } = engine.model.config
  const dy = new Float32Array(neuronCount(engine) * pairs)
  const inputs = new Float64Array(pairs)
  const intermediates = new Float64Array(pairs)
  const parts = partsOf(engine)
  let done = 0
  const session = engine.session('measure', job.layer)
  for (const step = pairStep(ff, d); done < pairs; done += step) {
    const [a, b] = [job.first.subarray(done, done + step), job.second.subarray(done, done + step)]
    const n = a.length
    const rows = Uint32Array.from([...a, ...b])
    const x = gatherRows(job.ffnIn, rows, d)
    const results = await (await session).run({ x: matrix(x, 2 * n, d) }, [...parts.map(({ name }) => name), 'z'])
    for (const { name, first, neurons } of parts) {
      const y = floats(results[name])
      for (let j = 0; j < neurons; j++)
        for (let i = 0; i < n; i++) dy[(first + j) * pairs + done + i] = y[j * 2 * n + i]! - y[j * 2 * n + n + i]!
    }
    inputs.set(pairDistances(x, 'rows', n, d), done)
    intermediates.set(pairDistances(floats(results['z']), 'columns', n, ff), done)
  }
  const md = new Float64Array(neuronCount(engine))
  const down = parts.at(-1)!.first
  md.set(mappingDifficulty(dy.subarray(0, down * pairs), inputs), 0)
  md.set(mappingDifficulty(dy.subarray(down * pairs), intermediates), down)
  return md
}

function pairStep(ff: number, d: number): number {
  return Math.min(2048, Math.max(128, Math.floor(RUN_BYTES / (8 * (3 * ff + 2 * d)))))
}

/** Euclidean distances of vector i from vector n + i, of 2n vectors of `length` numbers: the rows or columns of `data`. */
function pairDistances(data: Float32Array, layout: 'rows' | 'columns', n: number, length: number): Float64Array {
  const sums = new Float64Array(n)
  // In the order in which the numbers lie in memory.
  if (layout === 'rows')
    for (let i = 0; i < n; i++)
      for (let k = 0; k < length; k++) sums[i]! += (data[i * length + k]! - data[(n + i) * length + k]!) ** 2
  else
    for (let k = 0; k < length; k++)
      for (let i = 0; i < n; i++) sums[i]! += (data[2 * k * n + i]! - data[(2 * k + 1) * n + i]!) ** 2
  return sums.map(Math.sqrt)
}

async function measure(engine: Engine, job: MeasureJob): Promise<MeasureResult> {
  const count = neuronCount(engine)
  const sums = new Float64Array(count * POWERS)
  const counter = createCounter(MAX_RUN_ROWS)
  const ignored = new Float64Array(job.pruned ? sums.length : 0)
  const counts = new Uint32Array(job.counts)
  const variants: { outputs: PrunedOutputs; counts: Uint32Array; squares: Float64Array }[] = []
  for (const { ffn, counts: own } of job.pruned ?? [])
    variants.push({
      outputs: await prunedRunner(engine, job.layer, ffn),
      counts: new Uint32Array(own),
      squares: new Float64Array(count),
    })
  const more = [...(job.hidden ? ['ffn_out'] : []), ...(job.pruned ? ['z'] : [])]
  await eachRun(engine, job, more, async (outputs, { rows, x, results }) => {
    for (const one of outputs) countAll(counter, one, job.placements, counts, sums)
    if (job.hidden) {
      const hidden = new RowStore(job.hidden)
      hidden.scatterAdd(rows, floats(results['ffn_out']))
      hidden.close()
    }
    for (const variant of variants)
      await variant.outputs(x, results['z']!, outputs, (one, dense) => {
        countAll(counter, one, job.placements, variant.counts, ignored)
        addSquares(one, dense, variant.squares)
      })
  })
  return { sums, squaredErrors: variants.map(({ squares }) => squares) }
}

function countAll(
  counter: Counter,
  { data, first, neurons, rows }: Outputs,
  { centre, scale }: Placements,
  counts: Uint32Array,
  sums: Float64Array,
): void {
  for (let j = 0; j < neurons; j++) {
    const at = first + j
    const place = { centre: centre[at]!, scale: scale[at]! }
    counter(data, j * rows, rows, place, counts, at * BINS, sums, at * POWERS)
  }
}

function addSquares(pruned: Outputs, dense: Outputs, into: Float64Array): void {
  const { data, first, neurons, rows } = pruned
  for (let j = 0; j < neurons; j++) {
    let sum = 0
    for (let i = j * rows, end = i + rows; i < end; i++) sum += (data[i]! - dense.data[i]!) ** 2
    into[first + j]! += sum
  }
}

/** Calls `body` with the outputs of each pruned matrix beside the dense ones; they are gone after the call. */
type PrunedOutputs = (
  x: Tensor,
  z: Tensor,
  dense: readonly Outputs[],
  body: (outputs: Outputs, dense: Outputs) => void,
) => Promise<void>

/** Products of pruned matrices with the inputs of a run: gate and up with x (n, d), down with z (ff, n); with biases. */
async function prunedRunner(engine: Engine, layer: number, ffn: PackedFfn): Promise<PrunedOutputs> {
  const { hidden: d, ff } = engine.model.config
  const front = [...(ffn.gate ? [ffn.gate] : []), ffn.up].map((packed) => unpackExpert(packed, ff, d))
  const back = unpackExpert(ffn.down, d, ff)
  const biases = partsOf(engine).map(({ name }) => biasOf(engine, layer, name))
  const blas = await engine.blas()
  const { native } = engine
  const product = async (W: Float32Array | undefined, x: Tensor, z: Tensor, like: Outputs): Promise<Float32Array> => {
    const { neurons, rows } = like
    // W Xᵀ, with W in the part of the rows.
    if (W && native) return native.linear(W, neurons, x.data as Float32Array)
    const data = new Float32Array(neurons * rows)
    if (W) await blas.gemm(neurons, rows, d, W, x.data as Float32Array, data, { transB: true })
    else await blas.gemm(neurons, rows, ff, back, z.data as Float32Array, data)
    return data
  }
  return async (x, z, dense, body) => {
    for (const [i, like] of dense.entries()) {
      const data = await product(front[i], x, z, like)
      const bias = biases[i]
      if (bias) bias.forEach((value, j) => addTo(data, j * like.rows, like.rows, value))
      body({ ...like, data }, like)
    }
  }
}

function biasOf({ model }: Engine, layer: number, role: 'gate' | 'up' | 'down'): Float32Array | undefined {
  if (!model.config.biases.includes(role)) return undefined
  return model.weights.readF32(model.tensorName(role, layer, 'bias'))
}

function addTo(data: Float32Array, from: number, count: number, value: number): void {
  for (let i = from; i < from + count; i++) data[i]! += value
}

function matrix(data: Float32Array, rows: number, cols: number): Tensor {
  return { type: 'float32', dims: [rows, cols], data }
}

function floats(tensor: Tensor | undefined): Float32Array {
  return tensor!.data as Float32Array
}
