import type { Wasm } from '../linalg/wasm.ts'
import { instantiateWasm } from '../linalg/wasm.ts'
import type { Triangular } from './factor.ts'
import type { SolverKernels } from './kernels.ts'
import { COLUMN_BLOCK } from './pattern.ts'
import { LEAF, MAX_PANEL } from './schedule.ts'

/** Outputs of one tile of the kernels: rows are padded to a multiple of it with zero weights. */
const TILE = 16
const BINS = 65536
const SCRATCH_FLOATS = 1040

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
  /** (ld, panel): a panel of W as it lies in the caller's memory. */
  readonly stage: number
  readonly leaves: number
  readonly diagonal: number
  readonly bins: number
  readonly scratch: number
  /** (ld, maskStride) words: bit j of word b = column 32·b + j kept. */
  readonly mask: number
  readonly maskStride: number
}

/**
 * Lays out a sweep of (outputs, inputs): 4·inputs·outputs bytes and at most 6.7 kB per output. Takes the memory of
 * `previous` when that is large enough. Throws ResourceError beyond 4 GiB.
 */
export function reserveWorkspace(factor: Triangular, outputs: number, previous?: Workspace): Workspace {
  const { inputs } = factor
  const ld = Math.ceil(outputs / TILE) * TILE
  const maskStride = Math.ceil(inputs / LEAF)
  const panel = Math.min(MAX_PANEL, Math.ceil(inputs / 4) * 4)
  const sizes = {
    // Up to 3 rows more than inputs: the transpose works on 4 columns at a time.
    D: (inputs + 3) * ld,
    current: (panel + 3) * ld,
    removed: panel * ld,
    scores: COLUMN_BLOCK * ld,
    stage: ld * panel,
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
  return { wasm, inputs, outputs, ld, maskStride, ...addresses }
}

/** Rows [from, to) of one of the transposed matrices. */
export function rowsOf({ wasm, ld }: Workspace, address: number, from: number, to: number): Float32Array {
  return wasm.view(address + 4 * from * ld, (to - from) * ld)
}

/** Transposes columns [begin, end) of W (outputs, inputs) into D. Returns false when a weight is not finite. */
export function loadPanel(space: Workspace, W: Float32Array, begin: number, end: number): boolean {
  const { wasm, inputs, outputs, ld } = space
  const width = end - begin
  const lda = Math.ceil(width / 4) * 4
  const stage = wasm.view(space.stage, ld * lda)
  for (let i = 0; i < outputs; i++) {
    const from = i * inputs + begin
    const to = i * lda
    for (let j = 0; j < width; j++) stage[to + j] = W[from + j]!
    for (let j = width; j < lda; j++) stage[to + j] = 0
  }
  stage.fill(0, outputs * lda)
  return wasm.exports.transposeBlock(space.stage, ld, lda, lda, space.D + 4 * begin * ld, ld) === 0
}

/** Writes the current weights of a panel to columns [begin, end) of `weights` (outputs, inputs). */
export function storePanel(space: Workspace, weights: Float32Array, begin: number, end: number): void {
  const { wasm, inputs, outputs, ld } = space
  const width = end - begin
  const ldT = Math.ceil(width / 4) * 4
  wasm.exports.transposeBlock(space.current, ldT, ld, ld, space.stage, ldT)
  const stage = wasm.view(space.stage, ld * ldT)
  for (let i = 0; i < outputs; i++) {
    const from = i * ldT
    const to = i * inputs + begin
    for (let j = 0; j < width; j++) weights[to + j] = stage[from + j]!
  }
}

/** The mask (outputs, ⌈inputs / 8⌉), bit 0 first, 1 = kept, and the number of zeros in it. */
export function packMask({ wasm, inputs, outputs, mask, maskStride }: Workspace): { mask: Uint8Array; zeros: number } {
  const rowBytes = (inputs + 7) >> 3
  const words = new Uint8Array(wasm.memory.buffer, mask, outputs * maskStride * 4)
  const packed = new Uint8Array(outputs * rowBytes)
  let kept = 0
  for (let i = 0; i < outputs; i++)
    for (let b = 0, from = i * maskStride * 4, to = i * rowBytes; b < rowBytes; b++) {
      const byte = words[from + b]!
      packed[to + b] = byte
      kept += POPCOUNT[byte]!
    }
  return { mask: packed, zeros: outputs * inputs - kept }
}

/** Set bits of a byte. */
export const POPCOUNT: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  let bits = 0
  for (let rest = byte; rest > 0; rest >>= 1) bits += rest & 1
  return bits
})
