import type { Wasm } from '../linalg/wasm.ts'
import { instantiateWasm } from '../linalg/wasm.ts'
import type { Blas } from '../tensor/blas.ts'
import type { SolverKernels } from './kernels.ts'
import type { Step } from './schedule.ts'
import { LEAF, MAX_PANEL, panelWidth, schedule } from './schedule.ts'

/**
 * Columns [begin, end) of the factor. H = M Mᵀ, M upper triangular, so U = M⁻¹ has H⁻¹ = UᵀU. With D = W − Ŵ of the
 * columns before the panel its current weights are W + D·G, G = M[..begin, panel] · M[panel, panel]⁻¹ (E = D·M, E the
 * scaled errors of the paper): the sweep never needs U outside the diagonal blocks.
 */
export type Panel = {
  readonly begin: number
  readonly end: number
  /** Gᵀ (end − begin, begin) */
  readonly Gt: Float32Array
  readonly steps: readonly Step[]
  /** One per step: R[left, right]ᵀ (right, left) of an update, R_jk = U_jk / U_jj; empty for a prune step. */
  readonly updates: readonly Float32Array[]
}

/** What a sweep needs of H; valid until the next factorisation. */
export type Triangular = {
  readonly inputs: number
  readonly panels: readonly Panel[]
  /** M_jj = 1 / U_jj (inputs) */
  readonly diagonal: Float32Array
  /** R of every LEAF columns: (⌈inputs / LEAF⌉, LEAF, LEAF), upper triangles. */
  readonly leaves: Float32Array
}

/** A pivot that is not a positive finite number. */
export type BadPivot = { readonly column: number; readonly pivot: number }

/** Factors Hessians. Its buffers, about inputs² floats for M and G together and 512 kB for diagonal blocks, are reused. */
export class Factorizer {
  private readonly blas: Blas
  private readonly wasm: Wasm<SolverKernels>
  private readonly S: number
  private readonly Y: number
  private M = new Float32Array(0)
  private G = new Float32Array(0)

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
    const spans = this.reserve(inputs)
    const result = {
      inputs,
      panels: [] as Panel[],
      diagonal: new Float32Array(inputs),
      leaves: new Float32Array(Math.ceil(inputs / LEAF) * LEAF * LEAF),
    }
    for (let k = spans.length - 1; k >= 0; k--) {
      const { begin, end, M, G } = spans[k]!
      const width = end - begin
      copyPanel(H, inputs, begin, end, diagonal, G)
      for (let j = k + 1; j < spans.length; j++) {
        const wide = spans[j]!.end - spans[j]!.begin
        const above = spans[j]!.M.subarray(0, end * wide)
        const beside = spans[j]!.M.subarray(begin * wide, end * wide)
        await this.blas.gemm(end, width, wide, above, beside, G, { transB: true, alpha: -1, beta: 1 })
      }
      const block = this.factorDiagonal(G.subarray(begin * width), width)
      if ('pivot' in block) return { column: begin + block.column, pivot: block.pivot }
      const above = M.subarray(0, begin * width)
      const Gt = G.subarray(0, width * begin)
      if (begin > 0) {
        // M above = S·M_kk⁻ᵀ, and with it Gᵀ = M_kk⁻ᵀ·(M above)ᵀ, which takes the place of S.
        await this.blas.gemm(begin, width, width, Gt, block.Y, above)
        await this.blas.gemm(width, begin, width, block.Y, above, Gt, { transB: true })
      }
      for (let j = 0; j < width; j++) result.diagonal[begin + j] = 1 / block.Y[j * width + j]!
      const leaves = result.leaves.subarray(begin * LEAF)
      result.panels.unshift({ begin, end, Gt, ...cutSteps(block.Rt, width, leaves) })
    }
    return result
  }

  /** Cuts the buffers into panels of `M` and `G`, (end, end − begin) each, growing them first where needed. */
  private reserve(inputs: number): { begin: number; end: number; M: Float32Array; G: Float32Array }[] {
    const step = panelWidth(inputs)
    const begins = Array.from({ length: Math.ceil(inputs / step) }, (_, i) => i * step)
    const ends = begins.map((begin) => Math.min(begin + step, inputs))
    const sizes = ends.map((end, i) => end * (end - begins[i]!))
    const total = sizes.reduce((sum, size) => sum + size, 0)
    if (this.M.length < total) {
      this.M = new Float32Array(total)
      this.G = new Float32Array(total)
    }
    let at = 0
    return begins.map((begin, i) => {
      const from = at
      at += sizes[i]!
      return { begin, end: ends[i]!, M: this.M.subarray(from, at), G: this.G.subarray(from, at) }
    })
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

/** out (end, end − begin) = H[..end, begin..end] with the given diagonal. */
function copyPanel(
  H: Float32Array,
  inputs: number,
  begin: number,
  end: number,
  diagonal: Float64Array,
  out: Float32Array,
): void {
  const width = end - begin
  for (let i = 0; i < end; i++) out.set(H.subarray(i * inputs + begin, i * inputs + end), i * width)
  for (let j = begin; j < end; j++) out[j * width + j - begin] = diagonal[j]!
}

/** Rᵀ (width, width) of one panel, cut into the operands of its steps; those of prune steps go to `leaves`. */
function cutSteps(
  Rt: Float32Array,
  width: number,
  leaves: Float32Array,
): { steps: readonly Step[]; updates: readonly Float32Array[] } {
  const steps = schedule(width)
  const updates = steps.map((step) => {
    if (step.kind === 'prune') {
      const leaf = leaves.subarray(step.begin * LEAF)
      for (let k = 0; k < step.end - step.begin; k++)
        for (let j = 0; j <= k; j++) leaf[j * LEAF + k] = Rt[(step.begin + k) * width + step.begin + j]!
      return new Float32Array(0)
    }
    const { begin, middle, end } = step
    const block = new Float32Array((end - middle) * (middle - begin))
    for (let k = middle; k < end; k++)
      block.set(Rt.subarray(k * width + begin, k * width + middle), (k - middle) * (middle - begin))
    return block
  })
  return { steps, updates }
}
