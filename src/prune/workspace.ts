import type { Wasm } from '../linalg/wasm.ts'
import { instantiateWasm } from '../linalg/wasm.ts'
import type { Grid } from './grid.ts'
import { packScales, scaleGroups } from './grid.ts'
import type { SolverKernels } from './kernels.ts'
import type { Triangular } from './operands.ts'
import { COLUMN_BLOCK } from './pattern.ts'
import { GROUP, LEAF } from './schedule.ts'

/** Outputs of one tile of the kernels: rows are padded to a multiple of it with zero weights. */
const TILE = 16
/** Most outputs of one slab: a column block of it, in all its forms, fits the second-level cache. */
const MAX_SLAB = 832
/** Outputs transposed at a time: their rows of W stay in cache. */
const SLICE = 64
const BINS = 65536
/** Of the larger kernel, eliminateOnGrid(). */
const SCRATCH_FLOATS = 1552
/** Rows that lie a multiple of 4 kB apart share cache sets and evict each other: such rows get one tile more. */
const CACHE_STRIDE = 1024

/**
 * Outputs [first, first + outputs) of W, transposed: one row of `ld` floats per input, one float per output. Slabs only
 * share the thresholds of column blocks. Addresses are in bytes.
 */
export type Slab = {
  readonly first: number
  readonly outputs: number
  /** Floats of a row: outputs, padded. */
  readonly ld: number
  /** (inputs, ld): original weights; of pruned columns D = W − Ŵ. */
  readonly D: number
  /** (group, ld): current weights of a group of columns. */
  readonly current: number
  /** (column block, ld) */
  readonly scores: number
  /** (scale groups, ld): scales of the grid; empty without one. */
  readonly scales: number
}

/** WebAssembly memory of one sweep, addresses in bytes. */
export type Workspace = {
  readonly wasm: Wasm<SolverKernels>
  readonly inputs: number
  readonly outputs: number
  readonly panelWidth: number
  /** The grid that kept weights are rounded to, if any. */
  readonly grid: Grid | undefined
  readonly slabs: readonly Slab[]
  /** (panel, widest slab): what was removed from the current weights. */
  readonly removed: number
  /** (SLICE, stageStride): some rows of W as they lie in the caller's memory. */
  readonly stage: number
  readonly stageStride: number
  readonly leaves: number
  readonly diagonal: number
  readonly bins: number
  readonly scratch: number
  /** (outputs, maskStride) words, padded: bit j of word b = column 32·b + j kept. */
  readonly mask: number
  readonly maskStride: number
}

/**
 * Lays out a sweep of (outputs, inputs): 4·inputs·outputs bytes, 4.7 kB per output, 400 bytes per input and 1 MB. Takes
 * the memory of `previous` when that is large enough. Throws ResourceError beyond 4 GiB. A grid takes 4 bytes a scale.
 */
export function reserveWorkspace(
  factor: Triangular,
  outputs: number,
  grid: Grid | undefined,
  previous?: Workspace,
): Workspace {
  const { inputs } = factor
  const count = Math.ceil(outputs / MAX_SLAB)
  const width = Math.ceil(outputs / count / TILE) * TILE
  const stageStride = paddedStride(inputs)
  const maskStride = Math.ceil(inputs / LEAF)
  const shared = {
    removed: factor.panelWidth * width,
    stage: SLICE * stageStride,
    leaves: factor.leaves.length,
    diagonal: inputs,
    bins: BINS,
    scratch: SCRATCH_FLOATS,
    mask: count * width * maskStride,
  }
  // Up to 3 rows more than inputs: the transpose works on 4 columns at a time.
  const ofSlab = {
    D: (inputs + 3) * width,
    current: (Math.min(GROUP, inputs) + 3) * width,
    scores: COLUMN_BLOCK * width,
    scales: (grid ? scaleGroups(grid, inputs) : 0) * width,
  }
  const needed = bytesOf(shared) + count * bytesOf(ofSlab)
  const isEnough = previous !== undefined && previous.wasm.memory.buffer.byteLength >= needed + 2 * 65536
  const wasm = isEnough ? previous.wasm : instantiateWasm<SolverKernels>(needed)
  wasm.reset()
  const addresses = allocateAll(wasm, shared)
  wasm.view(addresses.leaves, factor.leaves.length).set(factor.leaves)
  wasm.view(addresses.diagonal, inputs).set(factor.diagonal)
  const slabs = Array.from({ length: count }, (_, s): Slab => {
    const some = Math.min(width, outputs - s * width)
    const ld = Math.ceil(some / TILE) * TILE
    return { first: s * width, outputs: some, ld, ...allocateAll(wasm, ofSlab) }
  })
  return { wasm, inputs, outputs, panelWidth: factor.panelWidth, grid, slabs, maskStride, stageStride, ...addresses }
}

/** Bytes of some arrays of floats, with room for their alignment. */
function bytesOf(sizes: Readonly<Record<string, number>>): number {
  return Object.values(sizes).reduce((bytes, floats) => bytes + 4 * floats + 64, 0)
}

function allocateAll<Names extends string>(
  wasm: Wasm<SolverKernels>,
  sizes: Readonly<Record<Names, number>>,
): Record<Names, number> {
  const entries = Object.entries<number>(sizes).map(([name, floats]) => [name, wasm.allocate(floats)])
  return Object.fromEntries(entries) as Record<Names, number>
}

/** Rows [from, to) of one of the transposed matrices of a slab. */
export function rowsOf({ wasm }: Workspace, { ld }: Slab, address: number, from: number, to: number): Float32Array {
  return wasm.view(address + 4 * from * ld, (to - from) * ld)
}

/** Fills D with W (outputs, inputs) transposed, inputs in `dead` with 0. Returns false when a weight is not finite. */
export function loadWeights(space: Workspace, W: Float32Array, dead: Uint32Array): boolean {
  const { wasm, inputs, stage, stageStride } = space
  const columns = Math.ceil(inputs / 4) * 4
  let check = 0
  for (const slab of space.slabs) {
    for (let begin = 0; begin < slab.ld; begin += SLICE) {
      const rows = Math.min(SLICE, slab.ld - begin)
      stageRows(space, slab, W, begin, rows)
      check += wasm.exports.loadTransposed(stage, rows, columns, stageStride, slab.D + 4 * begin, slab.ld)
    }
    for (const j of dead) rowsOf(space, slab, slab.D, j, j + 1).fill(0)
  }
  return check === 0
}

/** Rows [0, end − begin) of `current` = columns [begin, end) of W as loadWeights() took them, for one slab. */
export function loadColumns(
  space: Workspace,
  slab: Slab,
  W: Float32Array,
  begin: number,
  end: number,
  dead: Uint32Array,
): void {
  const { wasm, inputs, stage, stageStride } = space
  const columns = Math.ceil((end - begin) / 4) * 4
  for (let first = 0; first < slab.ld; first += SLICE) {
    const rows = Math.min(SLICE, slab.ld - first)
    const S = wasm.view(stage, rows * stageStride)
    for (let i = 0; i < rows; i++) {
      const isPadding = first + i >= slab.outputs
      const row = (slab.first + first + i) * inputs
      const to = i * stageStride
      if (!isPadding) S.set(W.subarray(row + begin, row + end), to)
      S.fill(0, isPadding ? to : to + end - begin, to + columns)
    }
    wasm.exports.loadTransposed(stage, rows, columns, stageStride, slab.current + 4 * first, slab.ld)
  }
  for (const j of dead) if (j >= begin && j < end) rowsOf(space, slab, slab.current, j - begin, j - begin + 1).fill(0)
}

/** Ŵ = W − D (outputs, inputs), exactly 0 where D = W; inputs in `dead` are 0 as well. */
export function storeWeights(space: Workspace, W: Float32Array, dead: Uint32Array): Float32Array {
  const { wasm, inputs, outputs, stage, stageStride } = space
  const columns = Math.ceil(inputs / 4) * 4
  const weights = new Float32Array(outputs * inputs)
  for (const slab of space.slabs)
    for (let begin = 0; begin < slab.outputs; begin += SLICE) {
      const rows = Math.min(SLICE, slab.ld - begin)
      const S = stageRows(space, slab, W, begin, rows)
      wasm.exports.subtractTransposed(stage, rows, columns, stageStride, slab.D + 4 * begin, slab.ld)
      for (let i = 0; i < Math.min(rows, slab.outputs - begin); i++) {
        const row = S.subarray(i * stageStride, i * stageStride + inputs)
        for (const j of dead) row[j] = 0
        weights.set(row, (slab.first + begin + i) * inputs)
      }
    }
  return weights
}

/** Copies outputs [begin, begin + rows) of a slab from W to the stage, zeros where W has none. */
function stageRows(space: Workspace, slab: Slab, W: Float32Array, begin: number, rows: number): Float32Array {
  const { wasm, inputs, stage, stageStride } = space
  const S = wasm.view(stage, rows * stageStride)
  for (let i = 0; i < rows; i++) {
    const isPadding = begin + i >= slab.outputs
    const row = (slab.first + begin + i) * inputs
    const to = i * stageStride
    if (!isPadding) S.set(W.subarray(row, row + inputs), to)
    S.fill(0, isPadding ? to : to + inputs, to + stageStride)
  }
  return S
}

/** The mask (outputs, ⌈inputs / 8⌉), bit 0 first, 1 = kept, and the number of zeros in it. */
export function packMask({ wasm, inputs, outputs, mask, maskStride }: Workspace): { mask: Uint8Array; zeros: number } {
  const rowBytes = (inputs + 7) >> 3
  const words = new Uint8Array(wasm.memory.buffer, mask, outputs * maskStride * 4)
  const zeros = outputs * inputs - wasm.exports.countBits(mask, outputs * maskStride)
  if (rowBytes === maskStride * 4) return { mask: words.slice(), zeros }
  const packed = new Uint8Array(outputs * rowBytes)
  for (let i = 0; i < outputs; i++)
    packed.set(words.subarray(i * maskStride * 4, i * maskStride * 4 + rowBytes), i * rowBytes)
  return { mask: packed, zeros }
}

/** The scales of the grid (outputs, groups) as f16 bits. Throws SolverError where one does not fit. */
export function storeScales(space: Workspace, grid: Grid, name: string): Uint16Array {
  const groups = scaleGroups(grid, space.inputs)
  const scales = new Float32Array(space.outputs * groups)
  for (const slab of space.slabs) {
    const rows = rowsOf(space, slab, slab.scales, 0, groups)
    for (let g = 0; g < groups; g++)
      for (let i = 0; i < slab.outputs; i++) scales[(slab.first + i) * groups + g] = rows[g * slab.ld + i]!
  }
  return packScales(scales, name)
}

/** A row length for `count` floats: whole tiles, and one more where rows would share cache sets. */
function paddedStride(count: number): number {
  const tiled = Math.ceil(count / TILE) * TILE
  return tiled % CACHE_STRIDE === 0 ? tiled + TILE : tiled
}
