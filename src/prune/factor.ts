import type { Wasm } from '../linalg/wasm.ts'
import { instantiateWasm } from '../linalg/wasm.ts'
import type { Blas } from '../tensor/blas.ts'
import type { SolverKernels } from './kernels.ts'
import type { Group, Triangular } from './operands.ts'
import { cutLeaves, cutUpdates, planGroups } from './operands.ts'
import { LEAF, MAX_PANEL, panelWidth } from './schedule.ts'

/** A pivot that is not a positive finite number. */
export type BadPivot = { readonly column: number; readonly pivot: number }

/** Columns [begin, end) of M above its diagonal block: (begin, end − begin). */
type Panel = { readonly begin: number; readonly end: number; readonly M: Float32Array }

/** Factors Hessians. Its buffers, about inputs² floats for M and G together and 512 kB for diagonal blocks, are reused. */
export class Factorizer {
  private readonly blas: Blas
  private readonly wasm: Wasm<SolverKernels>
  private readonly S: number
  private readonly Y: number
  private M = new Float32Array(0)
  private G = new Float32Array(0)
  private column = new Float32Array(0)

  constructor(blas: Blas) {
    this.blas = blas
    this.wasm = instantiateWasm(2 * 4 * MAX_PANEL * MAX_PANEL)
    this.S = this.wasm.allocate(MAX_PANEL * MAX_PANEL)
    this.Y = this.wasm.allocate(MAX_PANEL * MAX_PANEL)
  }

  /**
   * Factors H (inputs, inputs), symmetric, with `diagonal` in place of its own diagonal. Left-looking block Cholesky
   * from the last panel to the first; products by blas, diagonal blocks in WebAssembly. H is not modified.
   */
  async factor(H: Float32Array, inputs: number, diagonal: Float64Array): Promise<Triangular | BadPivot> {
    const width = panelWidth(inputs)
    const panels = this.reserve(inputs, width)
    const result: Triangular = {
      inputs,
      panelWidth: width,
      groups: planGroups(inputs, width, this.G),
      diagonal: new Float32Array(inputs),
      leaves: new Float32Array(Math.ceil(inputs / LEAF) * LEAF * LEAF),
    }
    for (let k = panels.length - 1; k >= 0; k--) {
      const panel = panels[k]!
      const { begin, end } = panel
      const S = await this.schurComplement(H, inputs, diagonal, panel, panels.slice(k + 1))
      const block = this.factorDiagonal(S.subarray(begin * (end - begin)), end - begin)
      if ('pivot' in block) return { column: begin + block.column, pivot: block.pivot }
      const { Y, Rt } = block
      // M above the diagonal block = S·M_kk⁻ᵀ = S·Y.
      if (begin > 0) await this.blas.gemm(begin, end - begin, end - begin, S.subarray(0, panel.M.length), Y, panel.M)
      for (let j = begin; j < end; j++) result.diagonal[j] = 1 / Y[(j - begin) * (end - begin + 1)]!
      const group = result.groups.find((group) => begin < group.end)!
      cutLeaves(Rt, begin, end, result.leaves)
      cutUpdates(Rt, begin, end, group)
      await this.fillProducts(Y, panel, group)
    }
    return result
  }

  /** Cuts the buffer into panels of M, growing all buffers first where needed. */
  private reserve(inputs: number, width: number): Panel[] {
    const begins = Array.from({ length: Math.ceil(inputs / width) }, (_, i) => i * width)
    const ends = begins.map((begin) => Math.min(begin + width, inputs))
    const total = begins.reduce((sum, begin, i) => sum + begin * (ends[i]! - begin), 0)
    if (this.M.length < total) this.M = new Float32Array(total)
    if (this.G.length < total) this.G = new Float32Array(total)
    if (this.column.length < inputs * width) this.column = new Float32Array(inputs * width)
    let at = 0
    return begins.map((begin, i) => {
      const from = at
      at += begin * (ends[i]! - begin)
      return { begin, end: ends[i]!, M: this.M.subarray(from, at) }
    })
  }

  /** S (end, end − begin) = H[..end, panel] − Σ_later M[..end, later]·M[panel, later]ᵀ; `diagonal` counts for diag H. */
  private async schurComplement(
    H: Float32Array,
    inputs: number,
    diagonal: Float64Array,
    { begin, end }: Panel,
    later: readonly Panel[],
  ): Promise<Float32Array> {
    const width = end - begin
    const S = this.column.subarray(0, end * width)
    for (let i = 0; i < end; i++) S.set(H.subarray(i * inputs + begin, i * inputs + end), i * width)
    for (let j = begin; j < end; j++) S[j * width + j - begin] = diagonal[j]!
    for (const { begin: first, end: last, M } of later) {
      const wide = last - first
      const above = M.subarray(0, end * wide)
      const beside = M.subarray(begin * wide, end * wide)
      await this.blas.gemm(end, width, wide, above, beside, S, { transB: true, alpha: -1, beta: 1 })
    }
    return S
  }

  /** Gᵀ of one panel = Y·(M above)ᵀ, written into the operands of its group. */
  private async fillProducts(Y: Float32Array, { begin, end, M }: Panel, group: Group): Promise<void> {
    const width = end - begin
    const fill = async (from: number, to: number, into: Float32Array): Promise<void> => {
      const above = M.subarray(from * width, to * width)
      if (to > from) await this.blas.gemm(width, to - from, width, Y, above, into, { transB: true })
    }
    const row = begin - group.begin
    await fill(0, group.begin, group.Gt.subarray(row * group.begin, (row + width) * group.begin))
    for (const [i, step] of group.steps.entries()) {
      if (step.kind !== 'apply' || row < step.middle || row >= step.end) continue
      const depth = step.middle - step.begin
      const into = group.operands[i]!.subarray((row - step.middle) * depth, (row - step.middle + width) * depth)
      await fill(group.begin + step.begin, group.begin + step.middle, into)
    }
  }

  /**
   * For one diagonal block S = NᵀN (n, n), N = Mᵀ of this block: Y = N⁻¹ = Uᵀ, and Rᵀ = Y·diag(Y)⁻¹, R = diag(U)⁻¹U, both
   * lower triangular.
   */
  private factorDiagonal(S: Float32Array, n: number): { Y: Float32Array; Rt: Float32Array } | BadPivot {
    const ld = Math.ceil(n / 4) * 4
    const at = this.wasm.view(this.S, n * ld)
    if (ld === n) at.set(S)
    else for (let i = 0; i < n; i++) at.set(S.subarray(i * n, (i + 1) * n), i * ld)
    const bad = this.wasm.exports.factorBlock(this.S, n, ld)
    if (bad >= 0) return { column: bad, pivot: at[bad * ld + bad]! }
    this.wasm.exports.invertBlock(this.S, this.Y, n, ld)
    this.wasm.exports.scaleToUnit(this.Y, this.S, n, ld)
    return { Y: this.copyOut(this.Y, n, ld), Rt: this.copyOut(this.S, n, ld) }
  }

  private copyOut(address: number, n: number, ld: number): Float32Array {
    const from = this.wasm.view(address, n * ld)
    if (ld === n) return from.slice()
    const out = new Float32Array(n * n)
    for (let i = 0; i < n; i++) out.set(from.subarray(i * ld, i * ld + n), i * n)
    return out
  }
}
