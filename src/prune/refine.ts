import type { Blas } from '../tensor/blas.ts'
import { gridLimit } from './grid.ts'
import { COLUMN_BLOCK } from './pattern.ts'
import { scaleRow } from './scales.ts'
import { GROUP, LEAF } from './schedule.ts'
import type { Slab, Workspace } from './workspace.ts'
import { loadColumns, rowsOf } from './workspace.ts'

/** H as it was given (inputs, inputs), and as it was damped: `diagonal` takes the place of its own. */
export type DampedHessian = {
  readonly H: Float32Array
  readonly diagonal: Float64Array
  /** What damping added to the diagonal. */
  readonly shift: number
  readonly deadInputs: Uint32Array
}

/**
 * One pass of coordinate descent (Gauss-Seidel) over the kept weights of a finished sweep: from the first column to the last,
 * every kept weight moves to the value, or the number of its grid, with the lowest tr(D H Dᵀ), D = W − Ŵ, while all other
 * weights stay. The sweep could only make up for an error with columns to the right of it.
 * Returns the change of tr(D H Dᵀ), H damped: never above 0.
 */
export async function refineWeights(
  space: Workspace,
  blas: Blas,
  hessian: DampedHessian,
  W: Float32Array,
): Promise<number> {
  const { inputs } = space
  let change = 0
  for (let first = 0; first < inputs; first += GROUP) {
    const last = Math.min(first + GROUP, inputs)
    const blocks = blocksOf(hessian, inputs, first, last)
    for (const slab of space.slabs) {
      loadColumns(space, slab, W, first, last, hessian.deadInputs)
      for (const block of blocks) change += await refineBlock(space, slab, blas, hessian, block)
    }
  }
  return change
}

/** H of one leaf with itself (LEAF, LEAF), damped, and of the columns behind it in its block with it (behind, columns). */
type Leaf = { readonly begin: number; readonly end: number; readonly own: Float32Array; readonly behind: Float32Array }
/** Columns [begin, end) of a group that begins at `first`: their gradients are one product. */
type Block = { readonly first: number; readonly begin: number; readonly end: number; readonly leaves: readonly Leaf[] }

function blocksOf(hessian: DampedHessian, inputs: number, first: number, last: number): Block[] {
  return Array.from({ length: Math.ceil((last - first) / COLUMN_BLOCK) }, (_, i) => {
    const begin = first + i * COLUMN_BLOCK
    const end = Math.min(begin + COLUMN_BLOCK, last)
    return { first, begin, end, leaves: leavesOf(hessian, inputs, begin, end) }
  })
}

async function refineBlock(
  space: Workspace,
  slab: Slab,
  blas: Blas,
  { H, shift }: DampedHessian,
  { first, begin, end, leaves }: Block,
): Promise<number> {
  const { wasm, inputs, grid } = space
  const { ld, D, current, scores: moved } = slab
  const DH = wasm.view(space.removed, (end - begin) * ld)
  // Gradients that are wrong by 1e-5 of themselves lead to the same numbers of the grid, but for a few.
  const rows = H.subarray(begin * inputs, end * inputs)
  await blas.gemm(end - begin, ld, inputs, rows, rowsOf(space, slab, D, 0, inputs), DH, { fast: true })
  let change = 0
  for (const leaf of leaves) {
    const row = 4 * (leaf.begin - begin) * ld
    const columns = leaf.end - leaf.begin
    wasm.view(space.bins, leaf.own.length).set(leaf.own)
    change += wasm.exports.refineColumns(
      current + 4 * (leaf.begin - first) * ld,
      D + 4 * leaf.begin * ld,
      space.removed + row,
      moved,
      columns,
      ld,
      space.bins,
      shift,
      space.mask + 4 * (slab.first * space.maskStride + leaf.begin / LEAF),
      space.maskStride,
      grid ? scaleRow(slab, grid, leaf.begin) : 0,
      grid ? gridLimit(grid) : 0,
    )
    if (leaf.end < end)
      await blas.gemm(
        end - leaf.end,
        ld,
        columns,
        leaf.behind,
        wasm.view(moved, columns * ld),
        DH.subarray((leaf.end - begin) * ld),
        { alpha: -1, beta: 1, fast: true },
      )
  }
  return change
}

function leavesOf({ H, diagonal }: DampedHessian, inputs: number, begin: number, end: number): Leaf[] {
  return Array.from({ length: Math.ceil((end - begin) / LEAF) }, (_, i): Leaf => {
    const first = begin + i * LEAF
    const last = Math.min(first + LEAF, end)
    const own = new Float32Array(LEAF * LEAF)
    for (let j = first; j < last; j++) {
      own.set(H.subarray(j * inputs + first, j * inputs + last), (j - first) * LEAF)
      own[(j - first) * (LEAF + 1)] = diagonal[j]!
    }
    const behind = new Float32Array((end - last) * (last - first))
    for (let j = last; j < end; j++)
      behind.set(H.subarray(j * inputs + first, j * inputs + last), (j - last) * (last - first))
    return { begin: first, end: last, own, behind }
  })
}
