import type { Wasm } from '../linalg/wasm.ts'
import { instantiateWasm } from '../linalg/wasm.ts'
import type { Triangular } from './factor.ts'
import type { SolverKernels } from './kernels.ts'
import { COLUMN_BLOCK } from './pattern.ts'
import { LEAF, MAX_PANEL } from './schedule.ts'

/** Outputs of one tile of the kernels: rows are padded to a multiple of it with zero weights. */
const TILE = 16
/** Outputs transposed at a time: their rows of W stay in cache. */
const SLICE = 64
const BINS = 65536
const SCRATCH_FLOATS = 1536
/** Rows that lie a multiple of 4 kB apart share cache sets and evict each other: such rows get one tile more. */
const CACHE_STRIDE = 1024

/**
 * WebAssembly memory of one sweep, addresses in bytes. Weights are transposed: one row of `ld` floats per input, one
 * float per output.
 */
export type Workspace = {
  readonly wasm: Wasm<SolverKernels>
  readonly inputs: number
  readonly outputs: number
  /** Floats of a row: outputs, padded. */
  readonly ld: number
  /** (inputs, ld): original weights; of pruned columns D = W − Ŵ. */
  readonly D: number
  /** (panel, ld): current weights of the panel, and what was removed from them. */
  readonly current: number
  readonly removed: number
  /** (column block, ld) */
  readonly scores: number
  /** (SLICE, stageStride): some rows of W as they lie in the caller's memory. */
  readonly stage: number
  readonly stageStride: number
  readonly leaves: number
  readonly diagonal: number
  readonly bins: number
  readonly scratch: number
  /** (ld, maskStride) words: bit j of word b = column 32·b + j kept. */
  readonly mask: number
  readonly maskStride: number
}

/**
 * Lays out a sweep of (outputs, inputs): 4·inputs·outputs bytes and at most 4.7 kB per output. Takes the memory of
 * `previous` when that is large enough. Throws ResourceError beyond 4 GiB.
 */
export function reserveWorkspace(factor: Triangular, outputs: number, previous?: Workspace): Workspace {
  const { inputs } = factor
  const ld = paddedStride(outputs)
  const stageStride = paddedStride(inputs)
  const maskStride = Math.ceil(inputs / LEAF)
  const panel = Math.min(MAX_PANEL, inputs)
  const sizes = {
    // Up to 3 rows more than inputs: the transpose works on 4 columns at a time.
    D: (inputs + 3) * ld,
    current: panel * ld,
    removed: panel * ld,
    scores: COLUMN_BLOCK * ld,
    stage: SLICE * stageStride,
    leaves: factor.leaves.length,
    diagonal: inputs,
    bins: BINS,
    scratch: SCRATCH_FLOATS,
    mask: ld * maskStride,
  }
  const needed = Object.values(sizes).reduce((bytes, floats) => bytes + 4 * floats + 64, 0)
  const isEnough = previous !== undefined && previous.wasm.memory.buffer.byteLength >= needed + 2 * 65536
  const wasm = isEnough ? previous.wasm : instantiateWasm<SolverKernels>(needed)
  wasm.reset()
  const addresses = Object.fromEntries(
    Object.entries(sizes).map(([name, floats]) => [name, wasm.allocate(floats)]),
  ) as Record<keyof typeof sizes, number>
  wasm.view(addresses.leaves, factor.leaves.length).set(factor.leaves)
  wasm.view(addresses.diagonal, inputs).set(factor.diagonal)
  return { wasm, inputs, outputs, ld, maskStride, stageStride, ...addresses }
}

/** Rows [from, to) of one of the transposed matrices. */
export function rowsOf({ wasm, ld }: Workspace, address: number, from: number, to: number): Float32Array {
  return wasm.view(address + 4 * from * ld, (to - from) * ld)
}

/** Fills D with W (outputs, inputs) transposed. Returns false when a weight is not finite. */
export function loadWeights(space: Workspace, W: Float32Array): boolean {
  const { wasm, inputs, ld, D, stage, stageStride } = space
  const columns = Math.ceil(inputs / 4) * 4
  let check = 0
  for (let begin = 0; begin < ld; begin += SLICE) {
    const rows = Math.min(SLICE, ld - begin)
    stageRows(space, W, begin, rows)
    check += wasm.exports.loadTransposed(stage, rows, columns, stageStride, D + 4 * begin, ld)
  }
  return check === 0
}

/** Ŵ = W − D (outputs, inputs), exactly 0 where D = W; columns in `dead` are 0 as well. */
export function storeWeights(space: Workspace, W: Float32Array, dead: Uint32Array): Float32Array {
  const { wasm, inputs, outputs, ld, D, stage, stageStride } = space
  const columns = Math.ceil(inputs / 4) * 4
  const weights = new Float32Array(outputs * inputs)
  for (let begin = 0; begin < outputs; begin += SLICE) {
    const rows = Math.min(SLICE, ld - begin)
    const S = stageRows(space, W, begin, rows)
    wasm.exports.subtractTransposed(stage, rows, columns, stageStride, D + 4 * begin, ld)
    for (let i = 0; i < Math.min(rows, outputs - begin); i++) {
      const row = S.subarray(i * stageStride, i * stageStride + inputs)
      for (const j of dead) row[j] = 0
      weights.set(row, (begin + i) * inputs)
    }
  }
  return weights
}

/** Copies rows [begin, begin + rows) of W to the stage, zeros where W has none. */
function stageRows(space: Workspace, W: Float32Array, begin: number, rows: number): Float32Array {
  const { wasm, inputs, outputs, stage, stageStride } = space
  const S = wasm.view(stage, rows * stageStride)
  for (let i = 0; i < rows; i++) {
    const row = begin + i
    const to = i * stageStride
    if (row < outputs) S.set(W.subarray(row * inputs, (row + 1) * inputs), to)
    S.fill(0, row < outputs ? to + inputs : to, to + stageStride)
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

/** A row length for `count` floats: whole tiles, and one more where rows would share cache sets. */
function paddedStride(count: number): number {
  const tiled = Math.ceil(count / TILE) * TILE
  return tiled % CACHE_STRIDE === 0 ? tiled + TILE : tiled
}
