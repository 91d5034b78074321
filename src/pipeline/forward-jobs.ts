import type { Engine } from './engine.ts'
import { floats, matrix, prunedDown, prunedFfn, prunedIntermediates } from './ffn.ts'
import { assertFiniteRows } from './finite.ts'
import type { AttentionJob, DenseFfnJob, EmbedJob, IntermediateJob, PropagateDownJob, PropagateJob } from './jobs.ts'
import type { RowStoreRef } from './rowstore.ts'
import { RowStore } from './rowstore.ts'
import type { Written } from './written.ts'

/** Rows of one run of an FF layer: large enough for full speed, small enough that intermediates stay in cache reach. */
export const FF_CHUNK_ROWS = 512
/** The same with native products: every call packs the weights anew, so it should be worth it. */
const NATIVE_CHUNK_ROWS = 2048

/** Embeds the tokens of some windows. */
export async function embed(engine: Engine, job: EmbedJob): Promise<void> {
  const windows = job.ids.length / job.sequenceLength
  const ids = BigInt64Array.from(job.ids, (id) => BigInt(id))
  const session = await engine.session('embed')
  const { hidden } = await session.run({
    input_ids: { type: 'int64', dims: [windows, job.sequenceLength], data: ids },
  })
  withStores([job.hidden], ([store]) => store!.write(job.firstRow, floats(hidden)))
}

/** Runs norm, attention, residual and the FF norm of one block over whole windows, in place. */
export async function attention(engine: Engine, job: AttentionJob, written: Written): Promise<void> {
  const { hidden: d } = engine.model.config
  const rows = job.windows * job.sequenceLength
  if (written.rows === rows) return
  const input = new Float32Array(rows * d)
  withStores([job.hidden], ([store]) => store!.read(job.firstRow, input))
  const session = await engine.session('attention', job.layer)
  const { residual, ffn_in } = await session.run({
    hidden: { type: 'float32', dims: [job.windows, job.sequenceLength, d], data: input },
  })
  const at = { layer: job.layer, firstRow: job.firstRow }
  assertFiniteRows(floats(residual), d, { ...at, what: 'hidden states' })
  assertFiniteRows(floats(ffn_in), d, { ...at, what: 'FF inputs' })
  withStores([job.hidden, job.ffnIn], ([hidden, ffnIn]) =>
    written.write(rows, () => {
      hidden!.write(job.firstRow, floats(residual))
      ffnIn!.write(job.firstRow, floats(ffn_in))
    }),
  )
}

/** Runs the dense FF layer of one block over consecutive rows, in place. */
export async function denseFfn(engine: Engine, job: DenseFfnJob, written: Written): Promise<void> {
  const { hidden: d } = engine.model.config
  const session = await engine.session('denseFfn', job.layer)
  await addInPlace(engine, job.hidden, rowRange(job.firstRow, job.rows), written, async (rows) => {
    const x = gatherRows(job.ffnIn, rows, d)
    const { update } = await session.run({ x: matrix(x, rows.length, d) }, ['update'])
    return floats(update)
  })
}

/** Stores the intermediates of one expert's pruned gate and up. */
export async function intermediate(engine: Engine, job: IntermediateJob): Promise<void> {
  const { hidden: d } = engine.model.config
  const map = await prunedIntermediates(engine, job.layer, job.front)
  await eachChunk(engine, job.rows, async (rows) => {
    const Z = await map(gatherRows(job.ffnIn, rows, d), rows.length)
    withStores([job.out], ([out]) => out!.scatter(rows, Z))
  })
}

/** Runs one expert's pruned FF layer over its rows, in place. */
export async function propagate(engine: Engine, job: PropagateJob, written: Written): Promise<void> {
  const { hidden: d } = engine.model.config
  const map = await prunedFfn(engine, job.layer, job.ffn)
  await addInPlace(engine, job.hidden, job.rows, written, (rows) => map(gatherRows(job.ffnIn, rows, d), rows.length))
}

/** Runs one expert's pruned down projection over stored intermediates, in place. */
export async function propagateDown(engine: Engine, job: PropagateDownJob, written: Written): Promise<void> {
  const { ff } = engine.model.config
  const map = await prunedDown(engine, job.layer, job.down)
  const { intermediates } = job
  await addInPlace(engine, job.hidden, job.rows, written, (rows) =>
    map(gatherRows(intermediates, rows, ff), rows.length),
  )
}

/** hidden[rows] += outputs(rows), in pieces, from where an earlier try of the job ended. */
async function addInPlace(
  engine: Engine,
  hidden: RowStoreRef,
  rows: Uint32Array,
  written: Written,
  outputs: (rows: Uint32Array) => Promise<Float32Array>,
): Promise<void> {
  let done = written.rows
  await eachChunk(engine, rows.subarray(done), async (some) => {
    const y = await outputs(some)
    done += some.length
    withStores([hidden], ([store]) => written.write(done, () => store!.scatterAdd(some, y)))
  })
}

/** The rows of a store as one (rows, cols) array. */
export function gatherRows(
  ref: Parameters<typeof withStores>[0][number],
  rows: Uint32Array,
  cols: number,
): Float32Array {
  const out = new Float32Array(rows.length * cols)
  withStores([ref], ([store]) => store!.gather(rows, out))
  return out
}

/** Calls `body` for pieces of rows, in order. */
export async function eachChunk(
  engine: Engine,
  rows: Uint32Array,
  body: (rows: Uint32Array) => Promise<void>,
): Promise<void> {
  const size = engine.native ? NATIVE_CHUNK_ROWS : FF_CHUNK_ROWS
  for (let start = 0; start < rows.length; start += size)
    await body(rows.subarray(start, Math.min(start + size, rows.length)))
}

function withStores(
  refs: readonly ConstructorParameters<typeof RowStore>[0][],
  body: (stores: RowStore[]) => void,
): void {
  const stores = refs.map((ref) => new RowStore(ref))
  try {
    body(stores)
  } finally {
    for (const store of stores) store.close()
  }
}

function rowRange(first: number, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => first + i)
}
