import { SolverError } from '../errors.ts'
import { createGram } from '../linalg/gram.ts'
import type { Blas } from '../tensor/blas.ts'

/** Rows of a matrix that does not fit into memory at once: `chunk` gives rows [start, end) as a view (end − start, dim). */
export type RowSource = {
  readonly rows: number
  readonly dim: number
  /** The view may be overwritten by the next call. Not in a SharedArrayBuffer: the products cannot read one. */
  chunk(start: number, end: number): Float32Array | Promise<Float32Array>
}

/** First and second moments of some rows x, about a point near their mean: without it float32 would lose the variance. */
export type Moments = {
  readonly count: number
  readonly dim: number
  readonly shift: Float32Array // (dim)
  /** Σ (x − shift). */
  readonly sum: Float64Array // (dim)
  /** Σ (x − shift)(x − shift)ᵀ. */
  readonly cross: Float32Array // (dim, dim)
}

/** Rows that go into the covariance: more do not move the leading components. */
export const MOMENT_ROWS = 32_768

/** Rows of one chunk: large products, little memory. */
export const CHUNK_ROWS = 4096

/** Every s-th row is taken, s the smallest stride that leaves at most `maxRows` of them. */
export function momentStride(rows: number, maxRows = MOMENT_ROWS): number {
  return Math.ceil(rows / maxRows)
}

/** A point near the mean: that of the first rows taken. */
export async function momentShift(source: RowSource, every: number): Promise<Float32Array> {
  const gathered = gatheredChunk(source, every)
  const n = await gather(source, 0, every, gathered)
  return meanOf(gathered, n, source.dim)
}

/** Moments of every s-th row, gathered and shifted chunk by chunk; the products go through `blas`. */
export async function accumulateMoments(source: RowSource, blas: Blas, maxRows = MOMENT_ROWS): Promise<Moments> {
  const every = momentStride(source.rows, maxRows)
  const shift = await momentShift(source, every)
  return sumMoments([await partialMoments(source, { start: 0, end: source.rows, every, shift }, blas)])
}

/** Rows [start, end) of which every s-th is taken; start is a multiple of CHUNK_ROWS · every. */
export type MomentRange = {
  readonly start: number
  readonly end: number
  readonly every: number
  readonly shift: Float32Array
}

/** Moments of a part of the rows. */
export async function partialMoments(source: RowSource, range: MomentRange, blas: Blas): Promise<Moments> {
  const { dim } = source
  const { start, end, every, shift } = range
  const gathered = gatheredChunk(source, every)
  const sum = new Float64Array(dim)
  const cross = createGram(blas, dim)
  let count = 0
  for (let at = start; at < end; at += CHUNK_ROWS * every) {
    const n = await gather(source, at, every, gathered)
    subtract(gathered, n, shift, sum)
    await cross.add(gathered.subarray(0, n * dim))
    count += n
  }
  return { count, dim, shift, sum, cross: await cross.finish() }
}

/** The moments of all parts, added in their order. Throws SolverError on NaN or Inf. */
export function sumMoments([first, ...others]: readonly Moments[]): Moments {
  const { dim, shift } = first!
  const sum = Float64Array.from(first!.sum)
  const cross = Float32Array.from(first!.cross)
  let { count } = first!
  for (const part of others) {
    for (let j = 0; j < dim; j++) sum[j] += part.sum[j]
    for (let i = 0; i < cross.length; i++) cross[i] += part.cross[i]
    count += part.count
  }
  const moments = { count, dim, shift, sum, cross }
  requireFinite(moments)
  return moments
}

function gatheredChunk({ rows, dim }: RowSource, every: number): Float32Array {
  return new Float32Array(Math.min(CHUNK_ROWS, Math.ceil(rows / every)) * dim)
}

/** Copies rows start, start + every, … of one chunk's worth into `out`; returns their number. */
async function gather(source: RowSource, start: number, every: number, out: Float32Array): Promise<number> {
  const { rows, dim } = source
  let n = 0
  for (let at = start, end = Math.min(rows, start + CHUNK_ROWS * every); at < end; at += CHUNK_ROWS) {
    const until = Math.min(at + CHUNK_ROWS, end)
    const view = await source.chunk(at, until)
    const first = at + ((every - (at % every)) % every)
    for (let row = first; row < until; row += every)
      out.set(view.subarray((row - at) * dim, (row - at + 1) * dim), n++ * dim)
  }
  return n
}

function meanOf(X: Float32Array, n: number, dim: number): Float32Array {
  const sum = new Float64Array(dim)
  for (let i = 0; i < n; i++) for (let j = 0; j < dim; j++) sum[j] += X[i * dim + j]
  return Float32Array.from(sum, (value) => value / n)
}

function subtract(X: Float32Array, n: number, shift: Float32Array, sum: Float64Array): void {
  const dim = shift.length
  for (let i = 0; i < n; i++)
    for (let j = 0, at = i * dim; j < dim; j++) {
      X[at + j] -= shift[j]
      sum[j] += X[at + j]
    }
}

/** The diagonal suffices: one NaN or Inf in a column makes it non-finite. */
function requireFinite({ cross, dim, count }: Moments): void {
  for (let j = 0; j < dim; j++)
    if (!Number.isFinite(cross[j * dim + j]))
      throw new SolverError(
        `Cannot cluster ${count} tokens: input ${j} has variance ${cross[j * dim + j]}: ` +
          `check the model and its text for NaN, Inf or what overflows`,
      )
}
