import { createHash } from 'node:crypto'
import { SAMPLE_ROWS } from '../cluster/points.ts'
import { fitRouter } from '../cluster/router.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import type { OpenedModel } from '../model/open.ts'
import { chunkReader } from './cluster-jobs.ts'
import { Engine } from './engine.ts'
import type { Job, MatrixName, SolveJob, SolveResult } from './jobs.ts'
import { matricesOf, packedFront } from './jobs.ts'
import type { Resolved } from './options.ts'
import { RowStore } from './rowstore.ts'
import { scaledSolve } from './scaled-solve.ts'
import { processorMs } from './stopwatch.ts'
import { calibrationText } from './text.ts'

/** Cost of work on some rows: ms of one processor, once and for every row. */
export type Cost = { readonly once: number; readonly perRow: number }

/** What the pieces of a run cost on this machine, measured on the first block of the model: ms of one processor. */
export type Costs = {
  /** Reading and tokenising the calibration text. */
  readonly text: number
  /** Hashing one byte. */
  readonly hash: number
  /** Per worker and block: sessions and weights. */
  readonly open: number
  readonly attention: Cost
  readonly cluster: Cost
  /** Σ x xᵀ of the FF inputs and of the intermediates. */
  readonly gram: readonly [Cost, Cost]
  /** Factorisation and sweep of one expert: gate and up, down. */
  readonly solve: readonly [number, number]
  readonly propagate: Cost
}

/** Rows of the probe: enough to be in the steady state, few enough to take seconds. */
const ROWS = 4096
/** The weights of a block decide how long the probe takes: large ones are probed on fewer rows. */
const ROW_WEIGHTS = 2048 * 4e6
/** Cost of a row beyond those that the starts of k-means look at, of that of such a row; measured on the demo model. */
const ROW_BEYOND = 0.2
const HASHED_BYTES = 1 << 25
/** Every job is repeated so often, and short ones for so long. */
const REPEATS = 3
const REPEATED_MS = 400
const MAX_REPEATS = 24

/** Runs the jobs of one block on some tokens, on this thread, and measures each. Takes seconds; nothing is written. */
export async function probeCosts(model: OpenedModel, options: Resolved): Promise<Costs> {
  const text = options.text?.paths.includes('-') ? 0 : await measured(() => calibrationText(model, options))
  const bench = await beginBench(model, options)
  const { run, rows, hidden, ffnIn } = bench
  await run(bench.attention(0))
  const attention = await typical(() => run(bench.attention(0)))
  const cluster = await clusterCost(bench.engine, options, ffnIn)
  const front = await costOf(rows, (some) => run(bench.gram('inputs', some)))
  const back = await costOf(rows, (some) => run(bench.gram('intermediates', some)))
  const { solve, packed } = await solveCosts(bench, options)
  const stores = { ffnIn: ffnIn.ref, hidden: hidden.ref }
  const propagate = await costOf(rows, (some) =>
    packed
      ? run({ kind: 'propagate', layer: 0, rows: some, ffn: packed, ...stores })
      : run({ kind: 'denseFfn', layer: 0, firstRow: 0, rows: some.length, ...stores }),
  )
  const open = await openCost(bench, attention, back.once + back.perRow * rows)
  await bench.engine.close()
  return {
    text,
    hash: await hashCost(),
    open,
    attention: { once: 0, perRow: attention / rows },
    cluster,
    gram: [front, back],
    solve,
    propagate,
  }
}

/** Some rows of a model, and the jobs that the probe runs on them. */
type Bench = {
  readonly engine: Engine
  readonly rows: number
  readonly hidden: RowStore
  readonly ffnIn: RowStore
  /** Runs a job and says what it cost, ms. */
  readonly run: (job: Job) => Promise<number>
  readonly attention: (layer: number) => Job
  readonly gram: (source: 'inputs' | 'intermediates', rows: Uint32Array, layer?: number) => Job
}

async function beginBench(model: OpenedModel, options: Resolved): Promise<Bench> {
  const { hidden: d, ff, vocab } = model.config
  const { sequenceLength } = options
  const wanted = Math.min(ROWS, Math.max(256, Math.floor(ROW_WEIGHTS / (d * ff))), options.tokens)
  const windows = Math.max(1, Math.floor(wanted / sequenceLength))
  const rows = windows * sequenceLength
  const hidden = RowStore.create(rows, d)
  const ffnIn = RowStore.create(rows, d)
  const engine = new Engine({ modelFolder: model.folder, native: options.native })
  const ids = Int32Array.from({ length: rows }, (_, i) => (i * 7919) % vocab)
  await engine.run({ kind: 'embed', ids, sequenceLength, firstRow: 0, hidden: hidden.ref })
  const stores = { hidden: hidden.ref, ffnIn: ffnIn.ref }
  return {
    engine,
    rows,
    hidden,
    ffnIn,
    run: (job) => measured(() => engine.run(job)),
    attention: (layer) => ({ kind: 'attention', layer, firstRow: 0, windows, sequenceLength, ...stores }),
    gram: (source, some, layer = 0) => ({ kind: 'gram', layer, rows: some, source, ffnIn: ffnIn.ref }),
  }
}

/**
 * Sessions and weights of one block. Of a block that is new to code that is not: the first one of a process pays for
 * compiling besides.
 */
async function openCost({ engine, run, rows, ...jobs }: Bench, attention: number, gram: number): Promise<number> {
  const { layers } = engine.model.config
  let layer = 0
  return typical(async () => {
    layer = (layer + 1) % layers
    const first = [await run(jobs.attention(layer)), await run(jobs.gram('intermediates', rowsUpTo(rows), layer))]
    const weights = await measured(async () => {
      for (const matrix of matricesOf(engine.model.config)) await engine.dense(matrix, layer)
    })
    return weights + Math.max(0, first[0]! - attention) + Math.max(0, first[1]! - gram)
  })
}

type PackedFfnOf = ReturnType<typeof packedFront> & { readonly down: PackedExpert }

/** The solves of one expert, and what they give; scaled up from a smaller one where they would take too long. */
async function solveCosts(
  { engine, rows, gram }: Bench,
  options: Resolved,
): Promise<{ readonly solve: [number, number]; readonly packed?: PackedFfnOf }> {
  const scaled = await scaledSolve(engine, options)
  if (scaled) return { solve: scaled }
  const matrices = matricesOf(engine.model.config)
  const times: number[] = []
  const packed: Partial<Record<MatrixName, PackedExpert>> = {}
  for (const source of ['inputs', 'intermediates'] as const) {
    const names = matrices.filter((name) => (name === 'down_proj') === (source === 'intermediates'))
    const solve = async (): Promise<SolveJob> => {
      const sum = (await engine.run(gram(source, rowsUpTo(rows)))).result as Float32Array
      return { ...options, kind: 'solve', layer: 0, matrices: names, sum, tokens: rows, label: 'probe', keep: true }
    }
    await engine.run(await solve())
    let results: SolveResult[] = []
    times.push(
      await typical(async () => {
        const job = await solve()
        return measured(async () => {
          results = (await engine.run(job)).result as SolveResult[]
        })
      }),
    )
    for (const result of results) packed[result.matrix] = result.packed!
  }
  return { solve: [times[0]!, times[1]!], packed: { ...packedFront(packed), down: packed.down_proj! } }
}

/**
 * Principal axes and k-means of as many rows as the starts of k-means look at, mixed from those that are there; rows
 * beyond cost a fraction.
 */
async function clusterCost(engine: Engine, { tokens, experts, seed }: Resolved, store: RowStore): Promise<Cost> {
  const { rows: given, cols: dim } = store.ref
  const rows = Math.min(tokens, SAMPLE_ROWS)
  if (experts === 1) return { once: 0, perRow: 0 }
  const own = chunkReader(store)(0, given).slice()
  const mixed = new Float32Array(rows * dim)
  for (let i = 0; i < rows; i++) {
    const [a, b] = [i % given, (i * 7 + Math.floor(i / given) * 131) % given]
    for (let j = 0; j < dim; j++) mixed[i * dim + j] = 0.7 * own[a * dim + j]! + 0.3 * own[b * dim + j]!
  }
  const chunk = (start: number, end: number): Float32Array => mixed.slice(start * dim, end * dim)
  const blas = await engine.blas()
  const once = await measured(() => fitRouter({ rows, dim, chunk, experts: Math.min(experts, rows >> 2), seed, blas }))
  return { once, perRow: tokens > rows ? (ROW_BEYOND * once * (1 - rows / tokens)) / rows : 0 }
}

async function costOf(rows: number, run: (rows: Uint32Array) => Promise<number>): Promise<Cost> {
  const quarter = rowsUpTo(rows >> 2)
  const whole = rowsUpTo(rows)
  await run(quarter)
  return line(rows, await typical(() => run(quarter)), await typical(() => run(whole)))
}

/**
 * The mean of some measurements without the upper quarter of them: compiling and a crowded machine only ever add to a cost,
 * while the garbage of every call belongs to it.
 */
async function typical(run: () => Promise<number>): Promise<number> {
  const costs: number[] = []
  for (
    let spent = 0;
    costs.length < REPEATS || (spent < REPEATED_MS && costs.length < MAX_REPEATS);
    spent += costs.at(-1)!
  )
    costs.push(await run())
  const kept = costs.sort((a, b) => a - b).slice(0, Math.ceil(0.75 * costs.length))
  return kept.reduce((sum, cost) => sum + cost, 0) / kept.length
}

/** The line through the costs of a quarter of the rows and of all of them; never below 0. */
function line(rows: number, quarter: number, whole: number): Cost {
  const perRow = Math.max(0, whole - quarter) / (rows - (rows >> 2))
  return { once: Math.max(0, whole - perRow * rows), perRow }
}

function rowsUpTo(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, i) => i)
}

function hashCost(): Promise<number> {
  const bytes = new Uint8Array(HASHED_BYTES)
  return measured(() => Promise.resolve(createHash('sha256').update(bytes).digest())).then((ms) => ms / HASHED_BYTES)
}

/** Processor time, not time on the clock: other programs on the machine are not part of the cost. */
async function measured(work: () => Promise<unknown>): Promise<number> {
  const before = processorMs()
  await work()
  return processorMs() - before
}
