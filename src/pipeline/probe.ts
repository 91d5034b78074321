import { createHash } from 'node:crypto'
import { SAMPLE_ROWS } from '../cluster/points.ts'
import { fitRouter } from '../cluster/router.ts'
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
const ROWS = 2048
/** The weights of a block decide how long the probe takes: large ones are probed on fewer rows. */
const ROW_WEIGHTS = 2048 * 4e6
/** Cost of a row beyond those that the starts of k-means look at, of that of such a row; measured on the demo model. */
const ROW_BEYOND = 0.2
const HASHED_BYTES = 1 << 25

/** Runs the jobs of one block on some tokens, on this thread, and measures each. Takes seconds; nothing is written. */
export async function probeCosts(model: OpenedModel, options: Resolved): Promise<Costs> {
  const { hidden: d, ff, vocab } = model.config
  const length = options.sequenceLength
  const wanted = Math.min(ROWS, Math.max(256, Math.floor(ROW_WEIGHTS / (d * ff))), options.tokens)
  const windows = Math.max(1, Math.floor(wanted / length))
  const rows = windows * length
  const hidden = RowStore.create(rows, d)
  const ffnIn = RowStore.create(rows, d)
  const engine = new Engine({ modelFolder: model.folder, native: options.native })
  const run = (job: Job): Promise<number> => measured(() => engine.run(job))
  const text = options.text?.paths.includes('-') ? 0 : await measured(() => calibrationText(model, options))
  const ids = Int32Array.from({ length: rows }, (_, i) => (i * 7919) % vocab)
  await run({ kind: 'embed', ids, sequenceLength: length, firstRow: 0, hidden: hidden.ref })
  const begin = { layer: 0, firstRow: 0, windows, sequenceLength: length, hidden: hidden.ref, ffnIn: ffnIn.ref }
  const firstAttention = await run({ kind: 'attention', ...begin })
  const attention = await run({ kind: 'attention', ...begin })
  const cluster = await clusterCost(engine, options, ffnIn)
  const all = rowsUpTo(rows)
  const gramOf = (source: 'inputs' | 'intermediates', some: Uint32Array): Job => ({
    kind: 'gram',
    layer: 0,
    rows: some,
    source,
    ffnIn: ffnIn.ref,
  })
  const firstGram = await run(gramOf('intermediates', all))
  const front = await costOf(rows, (some) => run(gramOf('inputs', some)))
  const back = await costOf(rows, (some) => run(gramOf('intermediates', some)))
  const { solve, packed, open } = await solveCosts(engine, options, (source) => engine.run(gramOf(source, all)), rows)
  const propagate = await costOf(rows, (some) =>
    packed
      ? run({ kind: 'propagate', layer: 0, rows: some, ffnIn: ffnIn.ref, hidden: hidden.ref, ffn: packed })
      : run({ kind: 'denseFfn', layer: 0, firstRow: 0, rows: some.length, hidden: hidden.ref, ffnIn: ffnIn.ref }),
  )
  await engine.close()
  const gram = back.once + back.perRow * rows
  return {
    text,
    hash: await hashCost(),
    open: Math.max(0, firstAttention - attention) + Math.max(0, firstGram - gram) + open,
    attention: { once: 0, perRow: attention / rows },
    cluster,
    gram: [front, back],
    solve,
    propagate,
  }
}

/** The solves of one expert, and what they give; scaled up from a smaller one where they would take too long. */
async function solveCosts(
  engine: Engine,
  options: Resolved,
  sumOf: (source: 'inputs' | 'intermediates') => Promise<{ result: unknown }>,
  tokens: number,
): Promise<{
  solve: [number, number]
  packed?: ReturnType<typeof packedFront> & { down: NonNullable<SolveResult['packed']> }
  open: number
}> {
  const scaled = await scaledSolve(engine, options)
  if (scaled) return { solve: scaled, open: 0 }
  const matrices = matricesOf(engine.model.config)
  const sides = [
    ['inputs', matrices.filter((name) => name !== 'down_proj')],
    ['intermediates', ['down_proj']],
  ] as const
  const times: number[] = []
  const packed: Partial<Record<MatrixName, NonNullable<SolveResult['packed']>>> = {}
  let open = 0
  for (const [source, names] of sides) {
    const job = async (): Promise<SolveJob> => ({
      ...options,
      kind: 'solve',
      layer: 0,
      matrices: names,
      sum: (await sumOf(source)).result as Float32Array,
      tokens,
      label: 'probe',
      keep: true,
    })
    const [warm, timed] = [await job(), await job()]
    const first = await measured(() => engine.run(warm))
    let results: SolveResult[] = []
    const time = await measured(async () => {
      results = (await engine.run(timed)).result as SolveResult[]
    })
    times.push(Math.min(first, time))
    open += Math.max(0, first - time)
    for (const result of results) packed[result.matrix] = result.packed!
  }
  return { solve: [times[0]!, times[1]!], packed: { ...packedFront(packed), down: packed.down_proj! }, open }
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
  await run(rowsUpTo(rows >> 2))
  return line(rows, await run(rowsUpTo(rows >> 2)), await run(rowsUpTo(rows)))
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
